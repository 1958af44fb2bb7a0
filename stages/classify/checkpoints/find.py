"""The tensors of a checkpoint, wherever they lie in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from stages.classify.checkpoints.pickles import Foreign
from stages.classify.checkpoints.storages import Stored


class Found(NamedTuple):
    """A tensor of a checkpoint.

    Attributes:
        tensor: The tensor.
        holder: Path of the dict or the pickled network that it belongs to; empty for the file itself.
        network: Dotted name of the class of that network; empty for a dict.
    """

    tensor: Stored
    holder: str
    network: str = ""


def find_tensors(root: object) -> dict[str, Found]:
    """All tensors by their path, the keys and names from the outermost container to the tensor joined by dots.

    What is not a tensor is left out. Of an object that stands in several places the shortest path counts. A pickled
    network gives its tensors the names that they have in its ``state_dict()``.

    Args:
        root: The content of a file, see :func:`stages.classify.checkpoints.files.read_file`.
    """
    found: dict[str, Found] = {}
    seen: set[int] = set()
    waiting: deque[tuple[str, Any, tuple[str, str] | None]] = deque([("", root, None)])
    while waiting:
        path, one, inside = waiting.popleft()
        if id(one) in seen:
            continue
        seen.add(id(one))
        network = isinstance(one, Foreign) and "_modules" in one.state
        if network and inside is None:
            inside = path, one.origin
        for key, value in _parts_of_network(one) if network else _parts(one):
            below = f"{path}.{key}" if path else str(key)
            if isinstance(value, Stored):
                found.setdefault(below, Found(value, *(inside or (path, ""))))
            elif isinstance(value, dict | list | tuple | Foreign):
                waiting.append((below, value, inside if network else None))
    return found


def _parts(one: object) -> Iterator[tuple[object, object]]:
    if isinstance(one, Foreign):
        yield from one.entries.items()
        yield from one.state.items()
        yield from enumerate(one.given)
    elif isinstance(one, dict):
        yield from one.items()
    elif isinstance(one, list | tuple):
        yield from enumerate(one)


def _parts_of_network(one: Foreign) -> Iterator[tuple[object, object]]:
    transient = one.state.get("_non_persistent_buffers_set")
    transient = transient if isinstance(transient, set | tuple | list) else ()
    for kind in ("_parameters", "_buffers", "_modules"):
        parts = one.state.get(kind)
        if isinstance(parts, dict):
            yield from ((name, part) for name, part in parts.items() if name not in transient)
