"""Checkpoints of the user's own: ``file:PATH?arch=torchvision:resnet18&num_classes=10&classes=names.txt``.

Those that this project trained need no more than ``file:PATH``, since they describe themselves.
"""

from __future__ import annotations

from pathlib import Path

from stages.classes import imagenet_classes
from stages.classify.network import Network
from stages.classify.sources.class_names import read_classes
from stages.classify.sources.described import described_network
from stages.classify.sources.file_spec import WRITTEN, FileSpec, parse, place
from stages.classify.sources.untrained import check_architecture, untrained
from stages.classify.weights import file_sha256, load_into
from stages.errors import ConfigurationError


def check(rest: str) -> None:
    """Look up the architecture and read the options; the files need not exist."""
    if architecture := parse(rest).architecture:
        check_architecture(architecture)


def load(rest: str, folder: Path) -> Network:
    """The architecture with the tensors of the file, loaded without running code from it.

    Raises:
        ConfigurationError: The file is damaged or does not fit, it neither describes itself nor is described, or the
            names of the classes cannot be read.
        WeightsUnavailableError: There is no such file.
    """
    given = parse(rest)
    path = place(folder, given.path)
    if not given.architecture:
        return _described(given, path)
    classes = read_classes(place(folder, given.classes)) if given.classes else []
    count = given.num_classes or len(classes) or 1000
    module, preprocess = untrained(given.architecture, count)
    notes = load_into(module, path, given.weights, given.architecture)
    if not classes and count == 1000:
        classes = list(imagenet_classes())
    return Network(module, classes, given.applied(preprocess), weights_sha256=file_sha256(path), notes=notes)


def _described(given: FileSpec, path: Path) -> Network:
    """The network of a file that says what it is."""
    described = described_network(path)
    if described is None:
        raise ConfigurationError(f"{WRITTEN}; found no arch, and {path} does not say what it is", about="network")
    found, module = described
    if given.num_classes or given.classes or given.weights:
        message = f"{path} says what it is; leave out num_classes, classes and weights"
        raise ConfigurationError(message, about="network")
    usual = found.fit == "squash"
    notes = [] if usual else [f"the network was trained on images of model.fit={found.fit}; others need it, too"]
    return Network(
        *(module, found.classes, given.applied(found.preprocess), "", file_sha256(path), found.outputs), notes=notes
    )
