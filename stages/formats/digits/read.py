"""Reader of the canvases of :mod:`stages.ingest.digits`, with exact boxes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stages.classes import ClassInfo
from stages.formats.digits import Options
from stages.formats.source import Source
from stages.ingest.digits import CLASSES, SIZE, members, render
from stages.ingest.records import ImageRecord

_SEED = 0


def read(root: str, options: Options) -> Source:
    """One canvas for each digit of a split: 1,000 of ``eval``, 4,000 of ``train``.

    Args:
        root: Ignored; the canvases are rendered when they are read.
        options: The digits to read.

    Raises:
        DataError: The package that contains the digits is missing.
        ConfigurationError: Unknown split.
    """
    return Source([ClassInfo(name) for name in CLASSES], _records(options.split))


def _records(split: str) -> Iterator[ImageRecord]:
    for index in range(len(members(split))):
        _, box, label = render(split, index, _SEED)
        yield ImageRecord(
            image_id=index + 1,
            uri=f"digits://{split}/{index}?seed={_SEED}",
            file_name=f"{split}/{index:05d}.png",
            label=label,
            width=SIZE,
            height=SIZE,
            boxes=box[None],
            box_labels=np.array([label], np.int32),
            deep=False,
        )
