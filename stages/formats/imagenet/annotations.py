"""Labels, sizes and boxes of the ILSVRC2012 validation set, in all common forms.

All forms count pixels from 0 and include the last one (no ``xmax`` reaches the width), so a box becomes
``[xmin, ymin, xmax + 1, ymax + 1]``.
"""

from __future__ import annotations

import csv
import gzip
import io
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import NamedTuple
from xml.etree.ElementTree import ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from stages.classes import imagenet_classes
from stages.errors import DataError
from stages.formats.source import Notes
from stages.ingest.clip import clip_boxes
from stages.ingest.paths import basename, join, parent
from stages.ingest.uris import is_file, list_folder, open_file, read_bytes

_XML_FOLDERS = (
    "ILSVRC/Annotations/CLS-LOC/val",
    "Annotations/CLS-LOC/val",
    "Annotations/val",
    "Annotations",
    "bbox/val",
    "bbox",
    "val",
    "",
)
_WSOL_FOLDERS = ("", "ILSVRC/test", "test", "metadata/ILSVRC/test")
# If the root is deep in a known tree, the annotations may be above it.
_LEVELS = ("val", "CLS-LOC", "Data", "ILSVRC")


@dataclass(frozen=True)
class Annotation:
    """Annotation of one image.

    Attributes:
        label: Index in sorted-wnid order; -1 where it is unknown.
        width: Width in pixels; 0 where it is unknown.
        height: Height in pixels; 0 where it is unknown.
        boxes: (n, 4) float32 xyxy half-open edges, clipped where the size is known.
        box_labels: (n,) int32, the class of each box.
    """

    label: int
    width: int
    height: int
    boxes: np.ndarray
    box_labels: np.ndarray


class _Raw(NamedTuple):
    """Annotation of one image in its source: inclusive integers, with the class of each box."""

    label: int
    boxes: list[tuple[int, list[int]]]
    width: int = 0
    height: int = 0


@cache
def labels_by_wnid() -> dict[str, int]:
    """Class indices of the 1000 classes, by WordNet id."""
    return {info.wnid: index for index, info in enumerate(imagenet_classes()) if info.wnid}


def read_annotations(root: str) -> tuple[dict[str, Annotation], Notes]:
    """Read the annotations under a root, which need not contain images.

    The first of these sources that has an image decides about it: ``LOC_val_solution.csv``; a folder of XML files
    or ``*bbox_val*.tgz``; wsolevaluation's ``image_ids``, ``class_labels``, ``image_sizes`` and
    ``localization`` ``.txt`` or ``.txt.gz``. The later ones are compared with it, and give the size where
    their boxes agree.

    Args:
        root: Folder, or a tar file of images with the annotations next to it.

    Returns:
        Annotations by the stem of the image's name, and findings, which count lines and files that cannot be read.

    Raises:
        DataError: A source is incomplete, or not what its name says.
    """
    notes = Notes()
    sources = [(basename(uri), dict(rows)) for uri, rows in _sources(_places(root), notes)]
    merged: dict[str, _Raw] = {}
    origin: dict[str, str] = {}
    for name, rows in sources:
        for stem, row in rows.items():
            if stem in merged:
                merged[stem] = _compared(merged[stem], row, f"between {origin[stem]} and {name}", notes)
            else:
                merged[stem], origin[stem] = row, name
    return {stem: _finished(row, notes) for stem, row in merged.items()}, notes


def _places(root: str) -> list[str]:
    """The root, and the folders above it as long as they are part of a known tree."""
    places = [root]
    if basename(root).lower().endswith(".tar"):
        places = [parent(root)]
    while basename(places[-1]) in _LEVELS:
        places.append(parent(places[-1]))
    return places


def _sources(places: list[str], notes: Notes) -> Iterator[tuple[str, Iterable[tuple[str, _Raw]]]]:
    """Pairs (uri, rows) of each kind of source that exists, the deciding one first."""
    for uri in (join(place, "LOC_val_solution.csv") for place in places):
        if is_file(uri):
            yield uri, _csv_rows(uri, notes)
            break
    if found := _find_xml(places):
        uri, files = found
        yield uri, _xml_rows(files, notes)
    for folder in (join(place, name) for place in places for name in _WSOL_FOLDERS):
        tables = {name.removesuffix(".gz"): join(folder, name) for name in list_folder(folder)[1]}
        if "image_ids.txt" in tables and "localization.txt" in tables:
            yield tables["localization.txt"], _wsol_rows(folder, tables, notes)
            break


def _find_xml(places: list[str]) -> tuple[str, Iterable[tuple[str, bytes]]] | None:
    for folder in (join(place, name) for place in places for name in _XML_FOLDERS):
        names = [name for name in list_folder(folder)[1] if _is_annotation(name)]
        if names:
            return folder, _folder_files(folder, names)
    for place in places:
        for name in list_folder(place)[1]:
            if "bbox_val" in name and name.endswith((".tgz", ".tar.gz", ".tar")):
                return join(place, name), _tar_files(join(place, name))
    return None


def _is_annotation(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() == ".xml" and path.stem.startswith("ILSVRC2012_val_")


def _folder_files(folder: str, names: list[str]) -> Iterator[tuple[str, bytes]]:
    with ThreadPoolExecutor(16) as pool:  # mostly waits for an object store
        yield from zip(names, pool.map(lambda name: read_bytes(join(folder, name)), names), strict=True)


def _tar_files(uri: str) -> Iterator[tuple[str, bytes]]:
    try:
        with open_file(uri) as file, tarfile.open(fileobj=file, mode="r:*") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() and _is_annotation(member.name) else None
                if content is not None:
                    yield member.name, content.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"cannot read the annotations {uri}: {error}; fetch them again") from error


def _xml_rows(files: Iterable[tuple[str, bytes]], notes: Notes) -> Iterator[tuple[str, _Raw]]:
    for name, content in files:
        try:
            tree = fromstring(content)
            boxes = [
                (
                    _label(found.findtext("name", "").strip(), notes),
                    [int(found.findtext(f"bndbox/{edge}", "")) for edge in ("xmin", "ymin", "xmax", "ymax")],
                )
                for found in tree.iter("object")
            ]
            width, height = (int(tree.findtext(f"size/{side}") or 0) for side in ("width", "height"))
        except (ParseError, DefusedXmlException, ValueError):
            notes.count("XML files cannot be read: their images have no annotation from them", example=name)
            continue
        yield PurePosixPath(name).stem, _Raw(boxes[0][0] if boxes else -1, boxes, width, height)


def _csv_rows(uri: str, notes: Notes) -> Iterator[tuple[str, _Raw]]:
    lines = csv.reader(io.StringIO(_text(uri)))
    if [field.strip() for field in next(lines, [])] != ["ImageId", "PredictionString"]:
        raise DataError(f"{uri}: line 1 is not ImageId,PredictionString")
    for row in filter(None, lines):
        try:
            stem, prediction = row
            words = prediction.split()
            boxes = [
                (_label(wnid, notes), [int(edge) for edge in edges])
                for wnid, *edges in zip(*[iter(words)] * 5, strict=True)
            ]
        except ValueError:
            what = f"lines of {basename(uri)} are not 'image,wnid x y x y ...': left out"
            notes.count(what, example=f"line {lines.line_num}")
            continue
        yield stem.strip(), _Raw(boxes[0][0] if boxes else -1, boxes)


def _wsol_rows(folder: str, files: dict[str, str], notes: Notes) -> Iterator[tuple[str, _Raw]]:
    """Rows of the four files of clovaai/wsolevaluation: ``val/NAME.JPEG`` and then integers, comma-separated."""
    tables: dict[str, dict[str, list[list[int]]]] = {}
    for name, count in (("image_ids", 0), ("class_labels", 1), ("image_sizes", 2), ("localization", 4)):
        if f"{name}.txt" not in files:
            raise DataError(f"{folder} has image_ids.txt but no {name}.txt; add it")
        table = tables.setdefault(name, {})
        for number, line in enumerate(_text(files[f"{name}.txt"]).splitlines(), start=1):
            image, *values = line.split(",")
            if len(values) != count or not all(value.strip().lstrip("-").isdecimal() for value in values):
                what = f"lines of {basename(files[f'{name}.txt'])} lack {count} integers after the name: left out"
                notes.count(what, example=f"line {number}")
                continue
            table.setdefault(image, []).append([int(value) for value in values])
    for image in tables["image_ids"]:
        label = tables["class_labels"].get(image, [[-1]])[0][0]
        if not -1 <= label < len(imagenet_classes()):
            what = f"images of {basename(files['class_labels.txt'])} have a class outside 0 to 999: they have no label"
            notes.count(what, example=f"{image} with {label}")
            label = -1
        width, height = tables["image_sizes"].get(image, [[0, 0]])[0]
        boxes = [(label, edges) for edges in tables["localization"].get(image, [])]
        yield PurePosixPath(image).stem, _Raw(label, boxes, width, height)


def _text(uri: str) -> str:
    content = read_bytes(uri)
    try:
        return (gzip.decompress(content) if uri.endswith(".gz") else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the annotations {uri}: {error}") from error


def _label(wnid: str, notes: Notes) -> int:
    label = labels_by_wnid().get(wnid, -1)
    notes.count("boxes with a wnid outside the 1000 classes: they have no label", label < 0)
    return label


def _compared(first: _Raw, second: _Raw, where: str, notes: Notes) -> _Raw:
    """The first annotation, with the size of the second if both have the same boxes."""
    notes.count(f"labels differ {where}: the former is used", first.label != second.label)
    if sorted(edges for _, edges in first.boxes) != sorted(edges for _, edges in second.boxes):
        notes.count(f"images have other boxes {where}: the former is used")
    elif not (first.width and first.height):
        return first._replace(width=second.width, height=second.height)
    return first


def _finished(row: _Raw, notes: Notes) -> Annotation:
    inclusive = np.array([edges for _, edges in row.boxes], dtype=np.float32).reshape(-1, 4)
    boxes, kept = clip_boxes(inclusive + np.array([0, 0, 1, 1], dtype=np.float32), row.width, row.height)
    labels = np.array([label for label, _ in row.boxes], dtype=np.int32)[kept]
    notes.count("boxes dropped: inverted or outside their image", len(kept) - len(boxes))
    notes.count("images have boxes of several classes: the first is the label", len(set(labels.tolist())) > 1)
    return Annotation(row.label, row.width, row.height, boxes, labels)
