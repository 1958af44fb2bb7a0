"""Writer of FiftyOneImageDetectionDataset."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from stages.classes import ClassInfo
from stages.formats.labels import Files, Labelled, Split


def write(splits: Sequence[Split], classes: Sequence[ClassInfo], description: str) -> Files:
    """``labels.json`` beside ``data/``, in a folder for each part; boxes as shares of the image.

    Args:
        splits: The parts of the dataset.
        classes: Classes in label order.
        description: Description of the data, which the format has no place for.
    """
    for split in splits:
        yield str(PurePosixPath(split.name, "labels.json")), _document(split, classes)


def _document(split: Split, classes: Sequence[ClassInfo]) -> Iterable[bytes]:
    names = json.dumps([info.name for info in classes], ensure_ascii=False)
    yield f'{{"classes":{names},"labels":{{'.encode()
    separator = ""
    for one in split.images():
        key = json.dumps(str(PurePosixPath(one.image.file_name).with_suffix("")), ensure_ascii=False)
        yield f"{separator}\n{key}:{json.dumps(_detections(one, classes), ensure_ascii=False)}".encode()
        separator = ","
    yield b"\n}}\n"


def _detections(one: Labelled, classes: Sequence[ClassInfo]) -> list[dict[str, Any]]:
    image, labels = one
    found = []
    for label in labels:
        if label.box is None:
            continue
        x0, y0, x1, y1 = label.box
        box = [x0 / image.width, y0 / image.height, (x1 - x0) / image.width, (y1 - y0) / image.height]
        score = {} if label.score is None else {"confidence": round(label.score, 6)}
        name = classes[label.class_index].name
        about = {"attributes": {"source": label.source, "status": label.status}}
        found.append({"label": name, "bounding_box": box, **score, **about})
    return found
