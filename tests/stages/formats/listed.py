"""Records of a dataset as the rows that metrics read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.batch import Batch, ragged
from stages.ingest.records import ImageRecord


def batch_of(records: Sequence[ImageRecord]) -> Batch:
    """Rows of a manifest."""
    return {
        **{
            name: np.array([getattr(one, name) for one in records]) for name in ("image_id", "label", "width", "height")
        },
        "boxes": ragged([one.boxes for one in records]),
        "masks": ragged([list(one.masks) or None for one in records]),
        "ignore": ragged([one.ignore for one in records]),
    }
