"""The file that says where a YOLO dataset's images are, and what their classes are called."""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

from stages.errors import ConfigurationError, DataError
from stages.formats.content import content_of
from stages.formats.source import Notes
from stages.formats.yolo import Options
from stages.ingest.paths import basename, join, parent
from stages.ingest.uris import is_file, is_folder, list_folder

_ENDINGS = (".yaml", ".yml")
_PARTS = ("val", "test", "train")
_LISTS = ("classes.txt", "obj.names")
"""Lists of class names, one a line."""


class DatasetFile(NamedTuple):
    """What the file says.

    Attributes:
        root: The folder that everything is relative to.
        names: Class names in order; empty where there are none.
        parts: Folders or lists of each part that may be meant, as written, the preferred one first.
        has_keypoints: Whether lines go on with key points behind the box.
    """

    root: str
    names: list[str]
    parts: dict[str, list[str]]
    has_keypoints: bool = False


def read_dataset_file(root: str, split: str, notes: Notes) -> DatasetFile:
    """Read ``data.yaml``, or what stands for it: ``classes.txt`` and the folders of the root.

    Args:
        root: The folder, or the file itself.
        split: The part.
        notes: Told what the file lacks.

    Raises:
        ConfigurationError: There is no such part.
        DataError: The file is damaged, or there are several.
    """
    uri = root if root.lower().endswith(_ENDINGS) and not is_folder(root) else _only(root)
    if uri is None:
        listed = [join(root, one) for one in _LISTS if is_file(join(root, one))]
        names = _lines(listed[0]) if listed else []
        folders = [f"images/{one}" for one in list_folder(join(root, "images"))[0]]
        parts = {basename(one): [one] for one in folders if basename(one) in _PARTS}
        return DatasetFile(root, names, _preferred(root, parts or {split: [""]}, split))
    try:
        tree = yaml.safe_load(content_of(uri))
    except FileNotFoundError:
        raise DataError(f"no file {uri}", about="root") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        what = " ".join(str(error).split())[:200]
        raise DataError(f"{uri} is not valid YAML: {what}", about="root") from None
    if not isinstance(tree, dict):
        raise DataError(f"{uri} does not say where images are; it needs keys such as train, val and names", "root")
    parts = {name: found for name in (*_PARTS, split) if (found := _texts(tree.get(name)))}
    folder = parent(uri)
    if not parts:
        notes.say(f"{uri} has none of the keys {', '.join(_PARTS)}: all images beside it are taken")
        parts = {split: [""]}
    base = tree.get("path")
    if isinstance(base, str) and base.strip(" ./"):
        folder = next((one for one in (base, join(folder, base)) if is_folder(one)), folder)
    names = _names(tree.get("names"), uri, notes)
    return DatasetFile(folder, names, _preferred(uri, parts, split), bool(tree.get("kpt_shape")))


def _only(root: str) -> str | None:
    """The dataset's file in a folder; None where there is none.

    Raises:
        DataError: There are several.
    """
    found = [name for name in list_folder(root)[1] if name.lower().endswith(_ENDINGS) and name[0] != "."]
    usual = [name for name in found if name.lower().rpartition(".")[0] in ("data", "dataset")]
    chosen = usual or found
    if len(chosen) > 1:
        listed = ", ".join(join(root, one) for one in chosen[:5])
        raise DataError(f"{root} has several files that may describe it; choose one by data.root: {listed}", "root")
    return join(root, chosen[0]) if chosen else None


def _preferred(uri: str, parts: dict[str, list[str]], split: str) -> dict[str, list[str]]:
    """The part of a name; where the default names none that is there, any may be meant."""
    if split != Options.split:
        if split not in parts:
            raise ConfigurationError(f"{uri} has no part {split!r}; it has {', '.join(parts)}", about="split")
        return {split: parts[split]}
    return {one: parts[one] for one in (*_PARTS, *parts) if one in parts}


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str) and one]


def _names(value: Any, uri: str, notes: Notes) -> list[str]:
    """Class names by number; a number that has no name stands for itself."""
    if isinstance(value, list):
        return [str(one) for one in value]
    if not isinstance(value, dict):
        notes.say(f"{uri} names no classes: they are called by their numbers")
        return []
    named = {int(key): str(name) for key, name in value.items() if str(key).isdecimal()}
    notes.count(f"names of {basename(uri)} have no number: left out", len(value) - len(named))
    most = max(named, default=-1)
    if most >= 10 * len(named) + 1000:  # A mistyped number would make a list of that length.
        raise DataError(f"{uri} numbers {len(named)} classes up to {most}; correct its names", about="root")
    return [named.get(at, str(at)) for at in range(most + 1)]


def _lines(uri: str) -> list[str]:
    lines = content_of(uri).decode("utf-8-sig", "replace").splitlines()
    return [line.strip() for line in lines if line.strip()]
