"""Writer of COCO results of the labels of a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from stages.classes import ClassInfo
from stages.formats.coco.write import in_pieces, json_list, rounded_xywh
from stages.formats.labels import Files, Images, Split


def write(splits: Sequence[Split], classes: Sequence[ClassInfo], description: str) -> Files:
    """A results list for each part, which :func:`stages.formats.coco.results.read_results` reads.

    Boxes without a score, such as those that a person drew, have score 1.

    Args:
        splits: The parts of the dataset.
        classes: Classes in label order; category ids are class index + 1.
        description: Description of the data, which the format has no place for.
    """
    for split in splits:
        yield f"results{split.name and '-'}{split.name}.json", json_list(in_pieces(_entries(split.images)))
    yield "classes.txt", (f"{info.name}\n".encode() for info in classes)


def _entries(images: Images) -> Iterator[dict[str, Any]]:
    for image, labels in images():
        for label in labels:
            if label.box is not None:
                yield {
                    "image_id": image.image_id,
                    "category_id": label.class_index + 1,
                    "bbox": rounded_xywh(label.box),
                    "score": 1.0 if label.score is None else round(label.score, 6),
                }
