"""The XML files of ILSVRC, in folders or in ``*bbox_val*.tgz`` and the like."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from posixpath import basename, splitext
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from stages.errors import DataError
from stages.formats.content import opened
from stages.formats.imagenet.places import Part
from stages.formats.imagenet.row import STEM, TRAIN_STEM, Row, box_label, stem_of
from stages.formats.numbers import number, whole
from stages.formats.source import Notes
from stages.formats.xml_files import MOST, XmlFiles, within


def read_xml(files: XmlFiles, notes: Notes) -> Iterator[tuple[str, Row]]:
    """Annotations with the stem of their image; files that cannot be read are counted."""
    for name, content in files:
        try:
            tree = fromstring(content)
            boxes = [
                (
                    box_label(found.findtext("name", "").strip(), notes),
                    [number(found.findtext(f"bndbox/{edge}", "")) for edge in ("xmin", "ymin", "xmax", "ymax")],
                )
                for found in tree.iter("object")
            ]
            width, height = (whole(tree.findtext(f"size/{side}") or "0") for side in ("width", "height"))
        except (ParseError, DefusedXmlException, ValueError):
            notes.count("XML files cannot be read: their images have no annotation from them", example=name)
            continue
        yield stem_of(name), Row(boxes[0][0] if boxes else -1, boxes, width, height)


def is_annotation(name: str, part: Part) -> bool:
    """Whether a file annotates an image of a part."""
    stem, suffix = splitext(basename(name))
    return suffix.lower() == ".xml" and bool((STEM if part == "val" else TRAIN_STEM).fullmatch(stem))


def files_of_tar(uri: str, part: Part) -> XmlFiles:
    """The annotations of a part in a tar, which may be compressed.

    Raises:
        DataError: The tar cannot be read.
    """
    try:
        with opened(uri) as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() and is_annotation(member.name, part) else None
                if content is not None:
                    yield member.name, within(content.read(MOST + 1))
                tar.members.clear()  # type: ignore[attr-defined]  # Of half a million files it keeps the headers.
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"cannot read the annotations {uri}: {error}; fetch them again") from error
