"""Arrow schemas of all tables that a run writes."""

from __future__ import annotations

import pyarrow as pa

METADATA = {"wsl_pipeline.schema": "1"}
BOX = pa.list_(pa.float32(), 4)


def _schema(**fields: pa.DataType) -> pa.Schema:
    return pa.schema(list(fields.items()), metadata=METADATA)


MANIFEST = _schema(
    image_id=pa.int64(),
    uri=pa.string(),
    file_name=pa.string(),
    label=pa.int32(),
    labels=pa.list_(pa.int32()),
    width=pa.int32(),
    height=pa.int32(),
    boxes=pa.list_(BOX),
    box_labels=pa.list_(pa.int32()),
)
"""Schema of the manifest, one row per image; ``label``, ``labels`` and ``box_labels`` are classes of the run, -1 for
none. ``labels`` are all that the image is known to show, the label first."""

MASKED_MANIFEST = _schema(
    **{field.name: field.type for field in MANIFEST},
    masks=pa.list_(pa.binary()),
    ignore=pa.binary(),
)
"""Schema of the manifest of a dataset with masks: COCO's compressed run lengths of each box's object (empty for none),
and of the region in which the label's class is not scored, both at the displayed size."""

PREDICTIONS = _schema(
    image_id=pa.int64(),
    method=pa.string(),
    target_rank=pa.int8(),
    class_index=pa.int32(),
    class_name=pa.string(),
    prob=pa.float32(),
    box=BOX,
    box_status=pa.string(),
    component=pa.int8(),
    quality=pa.float32(),
    iou=pa.float32(),
    map=pa.list_(pa.float16()),
    map_scale=pa.float32(),
    map_h=pa.int16(),
    map_w=pa.int16(),
    map_by_scale=pa.list_(pa.float16()),
    map_by_scale_sides=pa.list_(pa.int16()),
    map_foreground=pa.list_(pa.float16()),
    map_foreground_sides=pa.list_(pa.int16()),
)
"""Schema of the predictions, one row per image, method and target, and with ``box.instances`` one per component, of
which the first has the map.

``map_by_scale`` has the maps that ``map`` was made from, where it is not one map as it came, and ``map_foreground`` the
foreground that is in it: the values of one map after another, and height and width of each in the column of sides."""

ERRORS = _schema(
    image_id=pa.int64(),
    uri=pa.string(),
    stage=pa.string(),
    error_code=pa.string(),
    message=pa.string(),
    attempts=pa.int32(),
)
"""Schema of the errors, one row per image that ended without predictions."""

CURVES = _schema(epoch=pa.int32(), split=pa.string(), metric=pa.string(), value=pa.float64(), seconds=pa.float64())
"""Schema of the curves of a training, one row per epoch, split and metric; epochs count from 1, and seconds
are those of the pass over the split."""

TESTED = _schema(image_id=pa.int64(), label=pa.int32(), class_index=pa.int32(), prob=pa.float32(), right=pa.bool_())
"""Schema of a training's predictions, one row per test image: its label, the most probable class, and whether the image
shows it."""
