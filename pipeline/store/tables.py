"""A finished shard as the two tables that are committed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.store.schema import BOX, ERRORS, PREDICTIONS
from stages.batch import Batch, ImageError

COUNTS_FORM = 2
"""Number of the form of the counts in a part's metadata. A change of it does not matter to a complete run, whose scores
are written, but one that is under way goes on only in the form that it began in."""

COUNTS = b"wsl_pipeline.counts"
FAITHFULNESS = b"wsl_pipeline.faithfulness"
"""Keys of a part's metadata: what its metrics are made of. The second stands only where it was computed."""


def prediction_table(rows: Batch, class_names: list[str], counts: str) -> pa.Table:
    """A shard's prediction rows as they are stored.

    Args:
        rows: What the last stage returned; an empty dict where no image was left.
        class_names: By network output.
        counts: The shard's metric counts, kept in the file's metadata.
    """
    schema = PREDICTIONS.with_metadata({**PREDICTIONS.metadata, COUNTS: counts.encode()})
    if not rows:
        return schema.empty_table()
    maps = rows["map"]
    names = np.array(class_names, dtype=object)[rows["class_index"]]
    iou = rows["iou"]
    columns = {
        "image_id": rows["image_id"],
        "method": pa.array(rows["method"], pa.string()),
        "target_rank": rows["target_rank"],
        "class_index": rows["class_index"],
        "class_name": pa.array(names.tolist(), pa.string()),
        "prob": rows["prob"],
        "box": pa.FixedSizeListArray.from_arrays(pa.array(rows["box"].reshape(-1)), type=BOX),
        "box_status": pa.array(rows["box_status"], pa.string()),
        "iou": pa.array(iou, pa.float32(), mask=np.isnan(iou)),
        "map": pa.array([one.reshape(-1) for one in maps], pa.list_(pa.float16())),
        "map_scale": rows["map_scale"],
        "map_h": np.array([one.shape[0] for one in maps], dtype=np.int16),
        "map_w": np.array([one.shape[1] for one in maps], dtype=np.int16),
    }
    return pa.table(columns, schema=schema)


def error_table(errors: list[tuple[int, str, ImageError]]) -> pa.Table:
    """The images of a shard that ended without predictions."""
    return pa.table(
        {
            "image_id": [image_id for image_id, _, _ in errors],
            "uri": [uri for _, uri, _ in errors],
            "stage": [error.stage for _, _, error in errors],
            "error_code": [error.code for _, _, error in errors],
            "message": [error.message for _, _, error in errors],
            "attempts": [error.attempts for _, _, error in errors],
        },
        schema=ERRORS,
    )
