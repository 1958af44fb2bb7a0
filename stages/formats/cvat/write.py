"""Writer of CVAT's XML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from xml.sax.saxutils import escape, quoteattr

from stages.classes import ClassInfo
from stages.formats.labels import Files, Label, Labelled, Split
from stages.formats.xml_text import storable

_SCORE = (
    "<attribute><name>score</name><mutable>False</mutable><input_type>number</input_type>"
    "<default_value>0</default_value><values>0;1;0.000001</values></attribute>"
)


def write(splits: Sequence[Split], classes: Sequence[ClassInfo], description: str) -> Files:
    """An XML file for each part, ``annotations.xml`` where there is one; boxes are half-open, with two decimals.

    Images are named as their file below ``images/``, and CVAT looks for a frame of that name.

    Args:
        splits: The parts of the dataset.
        classes: Classes in label order.
        description: Description of the data, for the name of the task.
    """
    for split in splits:
        yield f"{split.name or 'annotations'}.xml", _document(split, classes, description)


def _document(split: Split, classes: Sequence[ClassInfo], description: str) -> Iterable[bytes]:
    labels = "".join(
        f"<label><name>{_text(info.name)}</name><type>rectangle</type><attributes>{_SCORE}</attributes></label>"
        for info in classes
    )
    yield (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
        f"<meta><task><name>{_text(description)}</name><labels>{labels}</labels></task></meta>\n"
    ).encode()
    for number, one in zip(count(), split.images(), strict=False):
        yield _image(number, one, classes).encode()
    yield b"</annotations>\n"


def _image(number: int, one: Labelled, classes: Sequence[ClassInfo]) -> str:
    image, labels = one
    boxes = "".join(_box(label, classes[label.class_index].name) for label in labels if label.box is not None)
    size = f'width="{image.width}" height="{image.height}"'
    return f'<image id="{number}" name={_quoted(image.file_name)} {size}>\n{boxes}</image>\n'


def _box(label: Label, name: str) -> str:
    assert label.box is not None
    sides = zip(("xtl", "ytl", "xbr", "ybr"), label.box, strict=True)
    place = " ".join(f'{side}="{value:.2f}"' for side, value in sides)
    source = "manual" if label.status == "reviewed" else "file" if label.status == "given" else "auto"
    score = "" if label.score is None else f'<attribute name="score">{label.score:.6f}</attribute>'
    return f'<box label={_quoted(name)} source="{source}" occluded="0" {place} z_order="0">{score}</box>\n'


def _text(text: str) -> str:
    return escape(storable(text))


def _quoted(text: str) -> str:
    return quoteattr(storable(text))
