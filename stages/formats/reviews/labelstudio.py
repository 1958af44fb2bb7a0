"""Label Studio's JSON export."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from stages.formats.labels import Box
from stages.formats.reviews.review import Findings, Review, Subjects, turned

_TURNED = "boxes are rotated: the upright box around each is taken"


def read(tasks: list[Any], subjects: Subjects) -> Findings:
    """The reviews of tasks.

    A task without an annotation, or whose annotation was cancelled, is not reviewed; an annotation without a region
    says that there is no object. Of several annotations the one marked as ground truth counts, or else the last.

    Args:
        tasks: The export, as JSON gives it.
        subjects: The images.
    """
    found = Findings()
    for task in tasks:
        data = task["data"]
        image = data.get("image_id")
        if image not in subjects.sizes:
            image = subjects.named(unquote(str(data.get("image", "")).partition("?d=")[2]).removeprefix("images/"))
        given = [one for one in task.get("annotations") or [] if not one.get("was_cancelled")]
        if image is None:
            found.refused["images are not of the run"] += 1
            continue
        if not given:
            found.notes.count("tasks have no annotation: not reviewed")
            continue
        chosen = max(given[::-1], key=lambda one: (bool(one.get("ground_truth")), str(one.get("updated_at") or "")))
        found.notes.count("tasks have several annotations: the last one, or the ground truth, counts", len(given) > 1)
        regions = [one for one in chosen.get("result") or [] if "x" in (one.get("value") or {}) or _has_shape(one)]
        if other := [str(one.get("type")) for one in regions if not _is_box(one)]:
            what = (
                "images have regions that are no boxes with a class, or that were drawn on a turned view: not reviewed"
            )
            found.notes.count(what, example=other[0])
            continue
        boxes = [box for region in regions for box in _boxes(region, image, subjects, found)]
        by = chosen.get("completed_by")
        by = by.get("email") or by.get("id") if isinstance(by, dict) else by
        when = chosen.get("updated_at") or chosen.get("created_at")
        found.reviews.append(Review(int(image), boxes, "" if by is None else str(by), str(when or "")))
    return found


def _has_shape(region: dict[str, Any]) -> bool:
    """Whether a result is about a part of the image; choices and texts are about all of it."""
    return bool({"points", "rle", "vertices", "brushlabels"} & set(region.get("value") or {}))


def _is_box(region: dict[str, Any]) -> bool:
    named = region.get("type") == "rectanglelabels" and bool(region["value"].get("rectanglelabels"))
    return named and not region.get("image_rotation")


def _boxes(region: dict[str, Any], image: int, subjects: Subjects, found: Findings) -> list[tuple[str, Box]]:
    value = region["value"]
    width, height = subjects.sizes[image]
    if (region.get("original_width"), region.get("original_height")) != (width, height):
        found.refused["boxes belong to images of another size"] += 1
        return []
    x, y = value["x"] * width / 100, value["y"] * height / 100
    box = (x, y, x + value["width"] * width / 100, y + value["height"] * height / 100)
    if value.get("rotation"):
        found.notes.count(_TURNED)
        box = turned(box, value["rotation"], (x, y))  # Label Studio turns about this corner.
    return [(name, box) for name in value["rectanglelabels"]]
