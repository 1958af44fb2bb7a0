"""Values as they are written: YAML, except that a text stands for itself wherever a key takes one.

YAML reads ``2017`` as a number, ``no`` as false, ``2020-01-01`` as a date and ``set #2`` as ``set``. A folder may have
any of these names.
"""

from __future__ import annotations

from typing import Any

import yaml

from pipeline.config.kinds import is_mapping, is_section, is_text, is_texts, takes_null
from stages.errors import ConfigurationError, one_line

_STANDARD = "tag:yaml.org,2002:"
_TEXT, _NULL = f"{_STANDARD}str", f"{_STANDARD}null"


def read_yaml(text: str, kind: Any, where: str) -> Any:
    """The value of a YAML document.

    Args:
        text: The document.
        kind: Type of its value, such as a section; None where it is unknown.
        where: File or key, for errors.

    Raises:
        ConfigurationError: It is not valid YAML.

    >>> read_yaml("[0.10, 007, no]", list[str], "explain.layer"), read_yaml("[0.10, 007, no]", None, "x")
    (['0.10', '007', 'no'], [0.1, 7, False])
    """
    try:
        loader = yaml.SafeLoader(text)  # Refuses control characters at once.
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _keep_texts(node, kind)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: not valid YAML: {one_line(error)}") from None


def read_value(text: str, kind: Any, where: str) -> Any:
    """The value of ``KEY=VALUE``: a text as it stands; in ``[A, B]``, for keys that take it, and for all else YAML.

    ``null`` and nothing at all stand for null where the key may be null.

    Args:
        text: What follows the ``=``.
        kind: Type of the key; None where it is unknown.
        where: The key, for errors.

    Raises:
        ConfigurationError: It is not valid YAML.

    >>> read_value("set #2", str, "data.root"), read_value("null", str | None, "data.root")
    ('set #2', None)
    """
    if is_text(kind):
        return None if takes_null(kind) and text in ("", "null") else text
    if is_texts(kind) and not text.startswith("["):
        return text
    if is_mapping(kind) and not text.startswith("{"):  # The name of a file that holds it.
        return None if text in ("", "null") else text
    return read_yaml(text, kind, where)


def _keep_texts(node: yaml.Node, kind: Any) -> None:
    """Make every unquoted value that belongs to a key of text a text, whatever YAML takes it for."""
    if isinstance(node, yaml.MappingNode) and is_section(kind):
        for name, value in node.value:
            if name.value in kind.model_fields:
                _keep_texts(value, kind.model_fields[name.value].annotation)
    elif isinstance(node, yaml.MappingNode) and is_mapping(kind):
        for name, value in node.value:
            _keep_texts(name, str)
            _keep_texts(value, list[str] | str)
    elif isinstance(node, yaml.SequenceNode) and is_texts(kind):
        for item in node.value:
            _keep_texts(item, str)
    elif (
        isinstance(node, yaml.ScalarNode)
        and (is_text(kind) or is_texts(kind))
        and node.tag.startswith(_STANDARD)
        and not (node.tag == _NULL and takes_null(kind))
    ):
        node.tag = _TEXT
