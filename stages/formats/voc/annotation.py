"""One XML file of Pascal VOC."""

from __future__ import annotations

from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from stages.formats.numbers import number, whole
from stages.formats.origin import SHIFTS
from stages.formats.source import Notes
from stages.formats.voc import Origin

_EDGES = ("xmin", "ymin", "xmax", "ymax")


class Annotation(NamedTuple):
    """What a file says of its image.

    Attributes:
        objects: Name and numbers xmin, ymin, xmax, ymax of each object.
        width: Width in pixels; 0 where it is not said.
        height: Height in pixels; 0 where it is not said.
    """

    objects: list[tuple[str, list[float]]]
    width: int
    height: int


def parse(name: str, content: bytes, notes: Notes) -> Annotation | None:
    """Read a file; None where it is no annotation, which is counted.

    Args:
        name: Name of the file, for notes.
        content: Its bytes.
        notes: Findings.
    """
    try:
        tree = fromstring(content)
    except (ParseError, DefusedXmlException, ValueError):
        notes.count("XML files cannot be read: their images have no annotation", example=name)
        return None
    objects = []
    # Parts of an object, such as a head, have boxes of their own below it.
    for found in tree.findall("object"):
        label = (found.findtext("name") or "").strip()
        try:
            values = [number(found.findtext(f"bndbox/{edge}") or "") for edge in _EDGES]
        except ValueError:
            values = []
        if not label or not values:
            notes.count("objects lack a name or a box: left out", example=name)
        elif (found.findtext("difficult") or "").strip() == "1":
            notes.count("objects are difficult, neither found nor missed: left out")
        else:
            objects.append((label, values))
    width, height = (_side(tree, side) for side in ("width", "height"))
    return Annotation(objects, width, height) if width and height else Annotation(objects, 0, 0)


def _side(tree: Element, side: str) -> int:
    try:
        return max(whole(tree.findtext(f"size/{side}") or "0"), 0)
    except ValueError:
        return 0


def find_origin(annotations: list[Annotation], notes: Notes) -> Origin:
    """What the numbers of boxes are, by the evidence of all: published boxes never begin at 0."""
    first = [value for one in annotations for _, values in one.objects for value in values[:2]]
    if not any(0 <= value < 1 for value in first):  # One below 0 is wrong in any case.
        notes.say("boxes are read as published, first and last pixel counted from 1; data.origin says otherwise")
        return "one"
    ends = any(
        values[2] >= one.width > 0 or values[3] >= one.height > 0 for one in annotations for _, values in one.objects
    )
    what = "half-open edges, since some end at their image's" if ends else "first and last pixel counted from 0"
    notes.say(f"some boxes begin at 0, so that all are read as {what}; data.origin says otherwise")
    return "edges" if ends else "zero"


def edges(annotation: Annotation, origin: Origin) -> np.ndarray:
    """The boxes of an image, (n, 4) float32 half-open edges, not clipped."""
    values = np.array([numbers for _, numbers in annotation.objects], np.float64).reshape(-1, 4)
    found: np.ndarray = (values + SHIFTS[origin]).astype(np.float32)
    return found
