"""The XML files of ILSVRC, in folders or in ``*bbox_val*.tgz`` and the like."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
from stages.ingest.paths import join
from stages.ingest.uris import read_bytes

Files = Iterable[tuple[str, bytes]]
"""Names and contents of XML files."""

_MOST = 16 << 20
"""Most bytes of an XML file, which is about one image."""
_AT_ONCE = 1024
"""Files that are read ahead of what is done with them."""


def read_xml(files: Files, notes: Notes) -> Iterator[tuple[str, Row]]:
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


def _within(content: bytes) -> bytes:
    """The content of a file, empty where it is too large."""
    return content if len(content) <= _MOST else b""


def is_annotation(name: str, part: Part) -> bool:
    """Whether a file annotates an image of a part."""
    stem, suffix = splitext(basename(name))
    return suffix.lower() == ".xml" and bool((STEM if part == "val" else TRAIN_STEM).fullmatch(stem))


def files_of_folder(folder: str, names: list[str]) -> Files:
    """The files of these names in a folder; one that cannot be opened is empty."""

    def content(name: str) -> bytes:
        try:
            return _within(read_bytes(join(folder, name), _MOST + 1))
        except OSError:
            return b""

    with ThreadPoolExecutor(16) as pool:  # mostly waits for an object store
        for at in range(0, len(names), _AT_ONCE):
            some = names[at : at + _AT_ONCE]
            yield from zip(some, pool.map(content, some), strict=True)


def files_of_tar(uri: str, part: Part) -> Files:
    """The annotations of a part in a tar, which may be compressed.

    Raises:
        DataError: The tar cannot be read.
    """
    try:
        with opened(uri) as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() and is_annotation(member.name, part) else None
                if content is not None:
                    yield member.name, _within(content.read(_MOST + 1))
                tar.members.clear()  # type: ignore[attr-defined]  # Of half a million files it keeps the headers.
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"cannot read the annotations {uri}: {error}; fetch them again") from error
