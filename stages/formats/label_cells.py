"""The classes in a cell of a table."""

from __future__ import annotations

import ast
import json
import re

SEVERAL = ("labels", "tags", "classes", "categories", "classnames", "labelnames", "categorynames")
"""Headers, without marks and in lower case, of columns whose cells may hold several classes."""
_MARKS = "|;,"


def holds_several(header: str) -> bool:
    """Whether the cells below a header may hold several classes.

    >>> holds_several("Class Names"), holds_several("label")
    (True, False)
    """
    return re.sub(r"[\W_]", "", header).lower() in SEVERAL


def labels_in(cell: str, several: bool) -> list[str]:
    """The classes in a cell: a list as Python or JSON write it, or words between marks where there may be several.

    >>> labels_in("man-eater, white shark", False), labels_in("cat|dog", True), labels_in("['cat', 'dog']", False)
    (['man-eater, white shark'], ['cat', 'dog'], ['cat', 'dog'])
    >>> labels_in("16 0", True), labels_in("golden retriever", True), labels_in("", True)
    (['16', '0'], ['golden retriever'], [])
    """
    found: list[str] = [cell]
    listed = _listed(cell)
    if listed is not None:
        found = listed
    elif several:
        mark = next((one for one in _MARKS if one in cell), None)
        found = cell.split() if re.fullmatch(r"\d+( +\d+)+", cell) else cell.split(mark) if mark else [cell]
    return list(dict.fromkeys(one for text in found if (one := text.strip())))


def _listed(cell: str) -> list[str] | None:
    """The texts and numbers of a list; None where the cell is none."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
            return [str(one) for one in value]
    return None
