"""CVAT's XML, of a task or a project."""

from __future__ import annotations

from typing import Any

from stages.formats.labels import Box
from stages.formats.reviews.review import Findings, Review, Subjects, enclosing, turned


def read(root: Any, subjects: Subjects) -> Findings:
    """The reviews of images; every image of the file counts as reviewed.

    Args:
        root: The element ``annotations``.
        subjects: The images.
    """
    found = Findings()
    found.notes.count("tracks belong to videos: left out", len(root.findall("track")))
    for entry in root.iter("image"):
        image = subjects.named(entry.get("name", ""))
        if image is None:
            found.refused["images are not of the run"] += 1
        elif (int(entry.get("width")), int(entry.get("height"))) != subjects.sizes[image]:
            found.refused["images have another size"] += 1
        elif other := [one.tag for one in entry if one.tag not in ("box", "polygon", "tag")]:
            found.notes.count("images have shapes that are neither boxes nor polygons: not reviewed", example=other[0])
        else:
            boxes = [(one.get("label"), box) for one in entry if one.tag != "tag" for box in _boxes(one, found)]
            found.reviews.append(Review(image, boxes))
    return found


def _boxes(shape: Any, found: Findings) -> list[Box]:
    if shape.tag == "box":
        x0, y0, x1, y1 = (float(shape.get(side)) for side in ("xtl", "ytl", "xbr", "ybr"))
        degrees = float(shape.get("rotation") or 0)
        if degrees:
            found.notes.count("boxes are rotated: the upright box around each is taken")
            return [turned((x0, y0, x1, y1), degrees, ((x0 + x1) / 2, (y0 + y1) / 2))]
        return [(x0, y0, x1, y1)]
    found.notes.count("polygons: the box around each is taken")
    pairs = [point.split(",") for point in shape.get("points").split(";")]
    return [enclosing([(float(x), float(y)) for x, y in pairs])]
