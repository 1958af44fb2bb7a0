"""From a dataset's classes to a network's outputs."""

from __future__ import annotations

import numpy as np

from stages.errors import DataError
from stages.ingest.dataset import ClassInfo


def match_classes(
    dataset: list[ClassInfo], network: list[ClassInfo], num_outputs: int
) -> tuple[np.ndarray, str | None]:
    """The network output of every class of a dataset: by wnid, else by name, else by position.

    Args:
        dataset: The dataset's classes in label order.
        network: The network's classes in output order; empty where their names are unknown.
        num_outputs: Number of the network's outputs.

    Returns:
        (len(dataset),) int32 output indices, -1 where the network has no such class, and a note for the
        user where the match deserves one.

    Raises:
        DataError: Nothing matches and the counts differ.
    """
    for key in (lambda info: info.wnid, lambda info: info.name.casefold().replace("_", " ")):
        outputs = {key(info): index for index, info in enumerate(network) if key(info)}
        found = np.array([outputs.get(key(info), -1) for info in dataset], dtype=np.int32)
        if (found >= 0).any():
            absent = [info.name for info, index in zip(dataset, found, strict=True) if index < 0]
            note = f"{len(absent)} classes are unknown to the network, first {absent[0]!r}" if absent else None
            return found, note
    if len(dataset) != num_outputs:
        raise DataError(
            f"the dataset has {len(dataset)} classes, the network {num_outputs}, and no name or wnid agrees; "
            "name the class folders by wnid or by the network's class names"
        )
    note = "classes are matched to the network's outputs by position" if network else None
    return np.arange(num_outputs, dtype=np.int32), note
