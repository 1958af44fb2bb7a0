"""Writer of Hugging Face image folders."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

from stages.classes import ClassInfo
from stages.formats.coco.write import rounded_xywh
from stages.formats.labels import Files, Labelled, Split


def write(splits: Sequence[Split], classes: Sequence[ClassInfo], description: str) -> Files:
    """``metadata.parquet`` in the folder of each part, with a row for every image: others would be left out.

    Parquet, because a part without any box has the types of the others only there. ``README.md`` says which files are
    which part: otherwise folders called ``val2017`` or ``test`` would be taken for parts of their own.

    Args:
        splits: The parts of the dataset.
        classes: Classes in label order.
        description: Description of the data, for the card.
    """
    for split in splits:
        yield f"{split.name}/metadata.parquet", [_table(split, classes)]
    parts = "".join(f"  - split: {split.name}\n    path: {split.name}/**\n" for split in splits)
    names = "".join(f"{index}. {info.name}\n" for index, info in enumerate(classes))
    meaning = "`objects.bbox` is x, y, width, height in pixels of the displayed image; `objects.category`:"
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n{parts}---\n\n{description}\n\n{meaning}\n\n{names}"
    yield "README.md", [card.encode()]


def _table(split: Split, classes: Sequence[ClassInfo]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    objects = {
        "bbox": pa.list_(pa.list_(pa.float64())),
        "category": pa.list_(pa.int64()),
        "name": pa.list_(pa.string()),
        "score": pa.list_(pa.float64()),
    }
    schema = pa.schema(
        {
            "file_name": pa.string(),
            "image_id": pa.int64(),
            "width": pa.int64(),
            "height": pa.int64(),
            "objects": pa.struct(objects),
        },
        # For the reader of this program: others have no place for either.
        metadata={"bbox_format": "xywh", "classes": json.dumps([info.name for info in classes])},
    )
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([_row(one, classes) for one in split.images()], schema), sink)
    return sink.getvalue()


def _row(one: Labelled, classes: Sequence[ClassInfo]) -> dict[str, object]:
    image, labels = one
    boxed = [(label, label.box) for label in labels if label.box is not None]
    return {
        "file_name": image.file_name,
        "image_id": image.image_id,
        "width": image.width,
        "height": image.height,
        "objects": {
            "bbox": [rounded_xywh(box) for _, box in boxed],
            "category": [label.class_index for label, _ in boxed],
            "name": [classes[label.class_index].name for label, _ in boxed],
            "score": [1.0 if label.score is None else round(label.score, 6) for label, _ in boxed],
        },
    }
