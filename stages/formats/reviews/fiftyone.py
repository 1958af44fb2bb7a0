"""FiftyOne's COCO export and its ``samples.json``."""

from __future__ import annotations

from typing import Any

from stages.formats.reviews.review import Findings, Review, Subjects


def read_coco(document: dict[str, Any], subjects: Subjects) -> Findings:
    """The reviews of a COCO file; every image of the file counts as reviewed, and is found by its name.

    Args:
        document: The file, as JSON gives it.
        subjects: The images.
    """
    found = Findings()
    names = {one["id"]: one["name"] for one in document.get("categories", [])}
    boxes: dict[Any, list[dict[str, Any]]] = {}
    for one in document["annotations"]:
        boxes.setdefault(one["image_id"], []).append(one)
    known = {entry["id"] for entry in document["images"]}
    found.refused["boxes are of images that the file does not list"] += sum(
        len(own) for image, own in boxes.items() if image not in known
    )
    for entry in document["images"]:
        image = subjects.named(entry["file_name"], whole=False)
        if image is None:
            found.refused["images are not of the run"] += 1
        elif (entry.get("width"), entry.get("height")) != subjects.sizes[image]:
            found.refused["images have another size"] += 1
        else:
            own = [(names[one["category_id"]], one["bbox"]) for one in boxes.get(entry["id"], [])]
            found.reviews.append(Review(image, [(name, (x, y, x + w, y + h)) for name, (x, y, w, h) in own]))
    return found


def read_samples(document: dict[str, Any], subjects: Subjects) -> Findings:
    """The reviews of ``samples.json``, whose boxes are shares of the image; without detections a sample is unreviewed.

    Args:
        document: The file, as JSON gives it.
        subjects: The images.
    """
    found = Findings()
    for sample in document["samples"]:
        image = subjects.named(sample["filepath"], whole=False)
        fields = [value for value in sample.values() if isinstance(value, dict) and value.get("_cls") == "Detections"]
        if image is None:
            found.refused["images are not of the run"] += 1
        elif not fields:
            found.notes.count("samples have no field of detections: not reviewed")
        else:
            width, height = subjects.sizes[image]
            about = sample.get("metadata") or {}
            if "width" in about and (about["width"], about.get("height")) != (width, height):
                found.refused["images have another size"] += 1
                continue
            boxes = [
                (one["label"], (x * width, y * height, (x + w) * width, (y + h) * height))
                for value in fields
                for one in value["detections"]
                for x, y, w, h in [one["bounding_box"]]
            ]
            found.reviews.append(Review(image, boxes))
    return found
