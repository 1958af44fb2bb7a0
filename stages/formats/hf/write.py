"""Writer of Hugging Face image folders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from stages.classes import ClassInfo
from stages.formats.coco.write import rounded_xywh
from stages.formats.labels import Files, Labelled, Split


def write(splits: Sequence[Split], classes: Sequence[ClassInfo], description: str) -> Files:
    """``metadata.jsonl`` in the folder of each part, with a row for every image: others would be left out.

    Args:
        splits: The parts of the dataset.
        classes: Classes in label order.
        description: Description of the data, for the card.
    """
    for split in splits:
        yield f"{split.name}/metadata.jsonl", _rows(split, classes)
    names = "".join(f"{index}. {info.name}\n" for index, info in enumerate(classes))
    text = (
        f"{description}\n\n`objects.bbox` is x, y, width, height in pixels of the displayed image; `objects.category`:"
    )
    yield "classes.md", [f"{text}\n\n{names}".encode()]


def _rows(split: Split, classes: Sequence[ClassInfo]) -> Iterable[bytes]:
    for one in split.images():
        yield json.dumps(_row(one, classes), ensure_ascii=False).encode() + b"\n"


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
