"""Checkpoints of the user's own: ``file:PATH?arch=torchvision:resnet18&num_classes=10&classes=names.txt``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

from stages.classes import imagenet_classes
from stages.classify.network import Network
from stages.classify.sources.class_names import as_classes, read_names
from stages.classify.sources.untrained import check_architecture, untrained
from stages.classify.weights import file_sha256, load_into
from stages.errors import ConfigurationError


class _Checkpoint(NamedTuple):
    path: str
    architecture: str
    num_classes: int | None
    names: str | None  # the file of them


def check(rest: str) -> None:
    """Look up the architecture and read the options; the files need not exist."""
    check_architecture(_parse(rest).architecture)


def load(rest: str, folder: Path) -> Network:
    """The architecture with the tensors of the file, loaded without running code from it.

    Raises:
        ConfigurationError: The file is damaged or does not fit, or the names of the classes cannot be read.
        WeightsUnavailableError: There is no such file.
    """
    given = _parse(rest)
    names = read_names(folder / given.names) if given.names is not None else []
    count = given.num_classes or len(names) or 1000
    module, preprocess = untrained(given.architecture, count)
    load_into(module, folder / given.path)
    classes = as_classes(names) if names else imagenet_classes() if count == 1000 else ()
    return Network(module, classes, preprocess, weights_sha256=file_sha256(folder / given.path))


def _parse(rest: str) -> _Checkpoint:
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query))
    extra = set(options) - {"arch", "num_classes", "classes"}
    if extra or "arch" not in options:
        raise ConfigurationError(
            "write file:PATH?arch=torchvision:resnet18&num_classes=10&classes=names.txt; "
            f"found {'no arch' if 'arch' not in options else 'unknown ' + ', '.join(sorted(extra))}",
            about="network",
        )
    count = options.get("num_classes")
    if count is not None and not (count.isascii() and count.isdigit() and 1 <= int(count) <= 1_000_000):
        raise ConfigurationError(f"num_classes={count} is not a number from 1 to 1000000", about="network")
    return _Checkpoint(path, options["arch"], None if count is None else int(count), options.get("classes"))
