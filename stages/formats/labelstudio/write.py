"""Writer of Label Studio's tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from stages.classes import ClassInfo
from stages.formats.coco.write import in_pieces, json_list
from stages.formats.labels import Files, Label, Labelled, Split
from stages.formats.xml_text import storable
from stages.ingest.records import ImageRecord

_CONTROL = ("label", "image")  # from_name and to_name of every region


def write(splits: Sequence[Split], classes: Sequence[ClassInfo], description: str) -> Files:
    """``tasks.json``, a file for each part, and ``label_config.xml``, the labelling interface.

    An image is ``/data/local-files/?d=images/...``, relative to the document root that Label Studio is started with.
    Each task keeps our ``image_id`` in its data, by which corrections find their image. Label Studio sorts tasks by the
    score of their prediction: that is the quality of the worst box, or the probability of its class where no quality is
    known. A region's score is the probability.

    Args:
        splits: The parts of the dataset, in the order in which the tasks are to be looked at.
        classes: Classes in label order.
        description: Description of the data; the version of the predictions.
    """
    for split in splits:
        tasks = (_task(one, classes, split.name, description) for one in split.images())
        yield f"tasks{split.name and '-'}{split.name}.json", json_list(in_pieces(tasks))
    yield "label_config.xml", _interface(classes)


def _interface(classes: Sequence[ClassInfo]) -> Iterator[bytes]:
    control, image = _CONTROL
    yield f'<View>\n  <Image name="{image}" value="$image"/>\n'.encode()
    yield f'  <RectangleLabels name="{control}" toName="{image}">\n'.encode()
    for info in classes:
        yield f"    <Label value={quoteattr(storable(info.name))}/>\n".encode()
    yield b"  </RectangleLabels>\n</View>\n"


def _task(one: Labelled, classes: Sequence[ClassInfo], split: str, version: str) -> dict[str, Any]:
    image, labels = one
    boxed = [label for label in labels if label.box is not None]
    regions = [_region(image, label, classes, number) for number, label in enumerate(boxed)]
    trust = [label.score if label.quality is None else label.quality for label in boxed]
    known = [value for value in trust if value is not None]
    data = {"image": f"/data/local-files/?d=images/{quote(image.file_name)}", "image_id": image.image_id}
    about = {"file_name": image.file_name, **({"split": split} if split else {})}
    prediction = {"model_version": version, **({"score": round(min(known), 6)} if known else {}), "result": regions}
    return {"data": data | about, "predictions": [prediction] if regions else []}


def _region(image: ImageRecord, label: Label, classes: Sequence[ClassInfo], number: int) -> dict[str, Any]:
    assert label.box is not None
    control, shown = _CONTROL
    x0, y0, x1, y1 = label.box
    name = storable(classes[label.class_index].name)
    return {
        "id": f"{image.image_id}-{number}",
        "type": "rectanglelabels",
        "from_name": control,
        "to_name": shown,
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
        **({} if label.score is None else {"score": round(label.score, 6)}),
        "value": {
            "x": 100 * x0 / image.width,
            "y": 100 * y0 / image.height,
            "width": 100 * (x1 - x0) / image.width,
            "height": 100 * (y1 - y0) / image.height,
            "rotation": 0,
            "rectanglelabels": [name],
        },
    }
