"""A class map: the network's classes that a class of a dataset stands for, as users write it."""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from stages.classes import Names, comparable, shown, some
from stages.errors import ConfigurationError
from stages.ingest.uris import is_file, read_bytes

ClassMap = dict[str, list[str]]
"""Names, WordNet ids or output numbers of the network's classes, by the name of the dataset's class."""

_FORM = "write a line a class, such as dog: [golden retriever, n02109047, 258]"


def read_class_map(given: object) -> ClassMap | None:
    """A class map from a file or from a mapping.

    Args:
        given: Path or uri of a YAML or JSON file, in which every name is text (``007`` and ``no`` are names), or
            its content, in which numbers are the numbers of outputs; None for no map.

    Raises:
        ConfigurationError: There is no such file, or it is no map.
    """
    if given is None:
        return None
    content = _content(given) if isinstance(given, str) else given
    where = f"{given}: " if isinstance(given, str) else ""
    if not isinstance(content, dict) or not content:
        raise ConfigurationError(f"{where}it maps no class; {_FORM}", about="class_map")
    return {_text(key, where): _texts(value, where) for key, value in content.items()}


def mapped_outputs(
    class_map: ClassMap, dataset: Names, network: Names, wnids: Mapping[str, int]
) -> tuple[dict[int, list[int]], list[str]]:
    """The outputs of the classes in a map.

    Args:
        class_map: The map.
        dataset: Names of the dataset's classes.
        network: Names of the network's classes.
        wnids: Outputs by wnid.

    Returns:
        Outputs, ascending, by the index of the dataset's class, and notes: what numbers and wnids were taken for, and
        entries of other classes.

    Raises:
        ConfigurationError: A name is not in the network or not the only one of its kind, or a class stands twice.
    """
    found: dict[int, list[int]] = {}
    absent = []
    for key, values in class_map.items():
        outputs = sorted({_output(value, key, network, wnids) for value in values})
        labels = dataset.find(key)
        if len(labels) > 1:
            message = f"{shown(key)} may be any of {dataset.listed(labels)}; write it as it stands"
            raise ConfigurationError(message, about="class_map")
        if labels and labels[0] in found:
            message = f"{shown(dataset.names[labels[0]])} stands in it twice, spelt differently; give it one list"
            raise ConfigurationError(message, about="class_map")
        if labels:
            found[labels[0]] = outputs
        else:
            near = dataset.nearest(key)
            absent.append(shown(key) + (f" (nearest: {shown(near)})" if near else ""))
    notes = []
    if found:
        meant = [
            f"{shown(dataset.names[label])} ({network.listed(outputs) or 'none'})" for label, outputs in found.items()
        ]
        notes.append(f"the class map says: {some(meant)}")
    if absent:
        of = f"{len(absent)} of {len(class_map)}"
        notes.append(f"{of} entries of the class map name no class of the dataset: {some(absent)}")
    return found, notes


def _output(value: str, key: str, network: Names, wnids: Mapping[str, int]) -> int:
    bare = comparable(value)
    negative = value.strip()[1:].isdecimal() and value.strip()[0] in "-\u2212"  # Comparing would drop the sign.
    found = [] if negative and value not in network.names else network.find(value)
    found = found or ([wnids[bare]] if bare in wnids else [])
    if not found and not negative and bare.isascii() and bare.isdigit() and int(bare) < len(network.names):
        found = [int(bare)]
    if len(found) == 1:
        return found[0]
    if found:
        what = f"may be any of {network.listed(found)}; write the number"
    elif near := network.nearest(value):
        what = f"is no class of the network; nearest: {shown(near)}"
    else:
        what = "is no class of the network; wsl-pipeline list classes SPEC shows them"
    raise ConfigurationError(f"{shown(value)}, under {shown(key)}, {what}", about="class_map")


def _texts(value: object, where: str) -> list[str]:
    if value in (None, ""):
        return []
    return [_text(one, where) for one in (value if isinstance(value, list) else [value])]


def _text(value: object, where: str) -> str:
    if isinstance(value, str) or type(value) is int:
        return str(value)
    message = f"{where}{reprlib.repr(value)} is not a name; put it in quotes, and {_FORM}"
    raise ConfigurationError(message, about="class_map")


def _content(path: str) -> Any:
    if not is_file(path):
        raise ConfigurationError(f"no file {path}", about="class_map")
    try:
        text = read_bytes(path).decode("utf-8-sig")
        if path.lower().endswith(".json"):
            return json.loads(text, object_pairs_hook=lambda pairs: _once(path, pairs))
        loader = yaml.BaseLoader(text)  # It takes every scalar as text.
        root = loader.get_single_node()
        if isinstance(root, yaml.MappingNode):
            _once(path, [(key.value, value) for key, value in root.value])
        return loader.construct_document(root) if root else None
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        message = f"{path} cannot be read: {' '.join(str(error).split())}; {_FORM}"
        raise ConfigurationError(message, about="class_map") from None


def _once(path: str, pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    """The pairs as a mapping. Both parsers would drop all but the last value of a key."""
    for key, times in Counter(str(key) for key, _ in pairs).items():
        if times > 1:
            raise ConfigurationError(f"{path}: {shown(key)} stands {times} times; give it one list", about="class_map")
    return {str(key): value for key, value in pairs}
