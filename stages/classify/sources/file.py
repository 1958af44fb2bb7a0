"""Checkpoints of the user's own: ``file:PATH?arch=torchvision:resnet18&num_classes=10&classes=names.txt``."""

from __future__ import annotations

from pathlib import Path

from stages.classes import imagenet_classes
from stages.classify.network import Network
from stages.classify.sources.class_names import read_classes
from stages.classify.sources.file_spec import parse, place
from stages.classify.sources.untrained import check_architecture, untrained
from stages.classify.weights import file_sha256, load_into


def check(rest: str) -> None:
    """Look up the architecture and read the options; the files need not exist."""
    check_architecture(parse(rest).architecture)


def load(rest: str, folder: Path) -> Network:
    """The architecture with the tensors of the file, loaded without running code from it.

    Raises:
        ConfigurationError: The file is damaged or does not fit, or the names of the classes cannot be read.
        WeightsUnavailableError: There is no such file.
    """
    given = parse(rest)
    classes = read_classes(place(folder, given.classes)) if given.classes else []
    count = given.num_classes or len(classes) or 1000
    module, preprocess = untrained(given.architecture, count)
    path = place(folder, given.path)
    notes = load_into(module, path, given.weights, given.architecture)
    if not classes and count == 1000:
        classes = list(imagenet_classes())
    return Network(module, classes, given.applied(preprocess), weights_sha256=file_sha256(path), notes=notes)
