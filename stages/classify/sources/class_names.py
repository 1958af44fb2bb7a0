"""Classes of a network of which only the names are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.classes import ClassInfo, comparable, imagenet_classes
from stages.errors import ConfigurationError


def as_classes(names: Sequence[str]) -> list[ClassInfo]:
    """Classes from their names in output order; ImageNet's 1000 classes get their wnids."""
    known = imagenet_classes()
    if len(names) == len(known) and all(comparable(a.name) == comparable(b) for a, b in zip(known, names, strict=True)):
        return [ClassInfo(name, info.wnid) for name, info in zip(names, known, strict=True)]
    return [ClassInfo(name) for name in names]


def read_names(path: Path) -> list[str]:
    """The names in a text file, one per line.

    Raises:
        ConfigurationError: There is no such file, or it is not UTF-8 text.
    """
    if not path.is_file():
        raise ConfigurationError(f"no file of class names at {path}", about="network")
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        message = f"{path} is not UTF-8 text; write one class name a line"
        raise ConfigurationError(message, about="network") from None
