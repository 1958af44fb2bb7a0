"""The demo's dataset: canvases of :mod:`stages.ingest.digits`, with exact boxes."""

from __future__ import annotations

import numpy as np

from stages.classes import ClassInfo
from stages.ingest.digits import CLASSES, SIZE, members, render
from stages.ingest.records import Dataset, ImageRecord

_SEED = 0


def read(root: str, split: str) -> Dataset:
    """One canvas for each digit of a split: 1,000 of ``eval``, 4,000 of ``train``.

    Args:
        root: Ignored; the canvases are rendered when they are read.
        split: ``eval``, or ``train`` to see the digits that the demo's network learnt from.

    Raises:
        DataError: The package that carries the digits is missing.
        ConfigurationError: Another split.
    """
    records = []
    for index in range(len(members(split))):
        _, box, label = render(split, index, _SEED)
        records.append(
            ImageRecord(
                image_id=index + 1,
                uri=f"digits://{split}/{index}?seed={_SEED}",
                file_name=f"{split}/{index:05d}.png",
                label=label,
                width=SIZE,
                height=SIZE,
                boxes=box[None],
                box_labels=np.array([label], np.int32),
            )
        )
    return Dataset([ClassInfo(name) for name in CLASSES], records, notes=[])
