"""Classes of a network of which only the names are known, in a list or a file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from stages.classes import ClassInfo, comparable, imagenet_classes
from stages.errors import ConfigurationError, one_line

_WNID = re.compile(r"n\d{8}")
_ABOUT_CLASSES = re.compile(r"name|class|label|categor|synset|vocab|idx|index", re.IGNORECASE)


def as_classes(names: Sequence[str]) -> list[ClassInfo]:
    """Classes from their names in output order; ImageNet's 1000 classes get their wnids."""
    known = imagenet_classes()
    if len(names) == len(known) and all(comparable(a.name) == comparable(b) for a, b in zip(known, names, strict=True)):
        return [ClassInfo(name, info.wnid) for name, info in zip(names, known, strict=True)]
    return [ClassInfo(name) for name in names]


def read_classes(path: Path) -> list[ClassInfo]:
    """The classes in a file, in output order.

    A text file holds one name a line, or a wnid and a name. A ``.json`` or ``.yaml`` file holds a list of names, a
    mapping from index to name or from name to index, with ``[wnid, name]`` for a name as in Keras's table, or a list of
    entries with ``id`` and ``name``; at the top, or under a key that says so.

    Raises:
        ConfigurationError: There is no such file, or it holds something else.
    """
    if not path.is_file():
        raise ConfigurationError(f"no file of class names at {path}", about="network")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}", about="network") from None
    except UnicodeDecodeError:
        message = f"{path} is not UTF-8 text; write one class name a line"
        raise ConfigurationError(message, about="network") from None
    suffix = path.suffix.lower()
    if suffix not in (".json", ".yaml", ".yml") and text.lstrip()[:1] not in ("{", "["):
        return _of_lines(text)
    try:
        # BaseLoader makes nothing but text: a class may be called no, 007 or 2020-01-01.
        document = json.loads(text) if suffix == ".json" else yaml.load(text, yaml.BaseLoader)  # noqa: S506
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        what = "JSON" if suffix == ".json" else "YAML"
        raise ConfigurationError(f"{path} is not {what}: {one_line(error)}", about="network") from None
    found = _find(document)
    if len(found) == 1:
        return next(iter(found.values()))
    problem = f"has several lists of classes: {', '.join(found)}" if found else "has no list of classes"
    raise ConfigurationError(
        f"{path} {problem}; write a list of names, or a mapping of index to name from 0 on", about="network"
    )


def _of_lines(text: str) -> list[ClassInfo]:
    lines = text.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    parts = [line.split(maxsplit=1) for line in lines]
    if all(part and _WNID.fullmatch(part[0]) for part in parts):
        return [ClassInfo(part[-1].strip(), part[0]) for part in parts]
    return as_classes(lines)


def _find(document: Any) -> dict[str, list[ClassInfo]]:
    """The different lists of classes in a document, by key; alone the one at its top, if that is one."""
    if (top := _classes(document)) is not None:
        return {"": top}
    found: dict[str, list[ClassInfo]] = {}
    waiting = [("", document)]
    while waiting:
        path, one = waiting.pop(0)
        for key, value in one.items() if isinstance(one, dict) else ():
            classes = _classes(value) if _ABOUT_CLASSES.search(str(key)) else None
            if classes is None:
                waiting.append((f"{path}{key}.", value))
            elif classes not in found.values():
                found[f"{path}{key}"] = classes
    return found


def _classes(value: Any) -> list[ClassInfo] | None:
    """The classes that a list or mapping is, or None if it is none."""
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        ids = [one.get("id", one.get("index")) for one in value]
        numbers = [int(one) for one in ids if str(one).isdecimal()]
        if len(set(numbers)) < len(value):
            return None
        value = [one.get("name") for _, one in sorted(zip(numbers, value, strict=True), key=lambda pair: pair[0])]
    elif isinstance(value, dict):
        value = _ordered(value)
    if not isinstance(value, list) or not value:
        return None
    infos = [_class(one) for one in value]
    if None in infos:
        return None
    plain = [one for one in infos if one is not None]
    return plain if any(one.wnid for one in plain) else as_classes([one.name for one in plain])


def _ordered(value: dict[Any, Any]) -> list[Any] | None:
    """The names of a mapping in the order of their indices."""
    by_key, by_value = _order(list(value)), _order(list(value.values()))
    if by_value and (not by_key or any(isinstance(one, int) for one in value.values())):
        return [list(value)[at] for at in by_value]
    if by_key and (not by_value or by_key == by_value):
        return [list(value.values())[at] for at in by_key]
    return None  # Or names and indices are numbers alike.


def _order(values: list[Any]) -> list[int]:
    """Places of the indices 0, 1, 2 ... among values; empty if they are not all there."""
    numbers = [int(one) if not isinstance(one, bool) and str(one).isdecimal() else -1 for one in values]
    if sorted(numbers) != list(range(len(numbers))):
        return []
    return sorted(range(len(numbers)), key=lambda at: numbers[at])


def _class(value: Any) -> ClassInfo | None:
    if isinstance(value, list) and len(value) == 2 and _WNID.fullmatch(str(value[0])):
        return ClassInfo(str(value[1]), value[0])
    if isinstance(value, dict):
        value = value.get("name")
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    name = str(value).strip()
    return ClassInfo(name, name if _WNID.fullmatch(name) else None)
