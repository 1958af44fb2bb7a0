"""From a dataset's classes to a network's outputs."""

from __future__ import annotations

import numpy as np

from stages.classes import ClassInfo
from stages.errors import DataError


def match_classes(
    dataset: list[ClassInfo], network: list[ClassInfo], num_outputs: int
) -> tuple[np.ndarray, str | None]:
    """The network output of every class of a dataset: by wnid, else by name; by position where the network does
    not name its classes.

    Args:
        dataset: The dataset's classes in label order.
        network: The network's classes in output order; empty where their names are unknown.
        num_outputs: Number of the network's outputs.

    Returns:
        (len(dataset),) int32 output indices, -1 where the network has no such class, and a note for the
        user where the match needs one.

    Raises:
        DataError: Nothing matches.
    """
    for key in (_wnid, _spelling):
        outputs = {key(info): index for index, info in enumerate(network) if key(info)}
        found = np.array([outputs.get(key(info), -1) for info in dataset], dtype=np.int32)
        if (found >= 0).any():
            absent = [info.name for info, index in zip(dataset, found, strict=True) if index < 0]
            note = f"{len(absent)} classes are unknown to the network, first {absent[0]!r}" if absent else None
            return found, note
    if network or len(dataset) != num_outputs:
        raise DataError(
            f"no name or wnid of the dataset's {len(dataset)} classes ({dataset[0].name!r} ...) is one of the "
            f"network's {num_outputs}; name the classes as the network does, or by wnid"
        )
    note = f"the network does not name its classes: they are taken in the dataset's order, {dataset[0].name!r} first"
    return np.arange(num_outputs, dtype=np.int32), note


def _wnid(info: ClassInfo) -> str | None:
    return info.wnid


def _spelling(info: ClassInfo) -> str:
    return info.name.casefold().replace("_", " ")
