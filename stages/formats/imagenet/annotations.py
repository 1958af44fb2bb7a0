"""Labels, sizes and boxes of ILSVRC2012, in all common forms.

All forms count pixels of the stored image from 0 and include the last one (no ``xmax`` reaches the width), so a box
becomes ``[xmin, ymin, xmax + 1, ymax + 1]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from stages.classes import imagenet_classes
from stages.formats.imagenet import xml
from stages.formats.imagenet.kaggle import read_csv
from stages.formats.imagenet.places import Part, Places
from stages.formats.imagenet.row import Row, stem_of
from stages.formats.inclusive import half_open
from stages.formats.source import Notes
from stages.formats.wsol import BOX, read_entries
from stages.formats.xml_files import files_of_folder
from stages.ingest.paths import join

_XML_FOLDERS = (
    "ILSVRC/Annotations/CLS-LOC/{part}",
    "Annotations/CLS-LOC/{part}",
    "Annotations/{part}",
    "Annotations",
    "Annotation",
    "bbox/{part}",
    "bbox",
    "{part}",
    "",
)
_WSOL_FOLDERS = ("", "ILSVRC/test", "test", "metadata/ILSVRC/test")


@dataclass(frozen=True)
class Annotation:
    """Annotation of one image.

    Attributes:
        label: Index in sorted-wnid order; -1 where it is unknown.
        width: Width in pixels, as annotated; 0 where it is unknown.
        height: Height in pixels, as annotated; 0 where it is unknown.
        boxes: (n, 4) float32 xyxy half-open edges, clipped where the size is known.
        box_labels: (n,) int32, the class of each box.
    """

    label: int
    width: int
    height: int
    boxes: np.ndarray
    box_labels: np.ndarray


def read_annotations(root: str, part: Part = "val") -> tuple[dict[str, Annotation], Notes]:
    """Read the annotations under a root, which need not contain images.

    The first of these sources that has an image decides about it: ``LOC_val_solution.csv``; folders of XML files
    and ``*bbox_val*.tgz``; of the validation set, wsolevaluation's ``image_ids``, ``class_labels``, ``image_sizes`` and
    ``localization`` ``.txt`` or ``.txt.gz``. The later ones are compared with it, and give the size where
    their boxes agree. So are the files of one source that annotate the same image.

    Args:
        root: Folder, or a tar file of images with the annotations next to it.
        part: The part that they are of, after which files and folders are called.

    Returns:
        Annotations by the stem of the image's name, and findings, which count lines and files that cannot be read.

    Raises:
        DataError: A source is incomplete, or not what its name says.
    """
    notes = Notes()
    places = Places(root, part)
    merged: dict[str, Row] = {}
    origin: dict[str, str] = {}
    for uri, rows in _sources(places, part, notes):
        name = places.name(uri)
        for stem, row in rows:
            if stem in merged:
                where = f"between {origin[stem]} and {name}" if origin[stem] != name else f"within {name}"
                merged[stem] = _compared(stem, merged[stem], row, where, notes)
            else:
                merged[stem], origin[stem] = row, name
    return {stem: _finished(row, notes) for stem, row in merged.items()}, notes


def _sources(places: Places, part: Part, notes: Notes) -> Iterator[tuple[str, Iterable[tuple[str, Row]]]]:
    """Pairs (uri, rows) of each source that exists, the deciding one first."""
    table = f"LOC_{part}_solution.csv"
    for folder, names in places.files(("",)):
        if table in names:
            yield join(folder, table), read_csv(join(folder, table), notes).items()
    xml_folders = tuple(folder.format(part=part) for folder in _XML_FOLDERS)
    for folder, names in places.files(xml_folders, classes=part == "train"):
        if found := [name for name in names if xml.is_annotation(name, part)]:
            yield folder, xml.read_xml(files_of_folder(folder, found), notes)
    for folder, names in places.files(("",)):
        for name in names:
            if f"bbox_{part}" in name and name.endswith((".tgz", ".tar.gz", ".tar")):
                yield join(folder, name), xml.read_xml(xml.files_of_tar(join(folder, name), part), notes)
    for folder, names in places.files(_WSOL_FOLDERS if part == "val" else ()):
        tables = {name.removesuffix(".gz"): join(folder, name) for name in names}
        if "image_ids.txt" in tables and "localization.txt" in tables:
            yield tables["localization.txt"], _read_wsol(folder, tables, notes)
            break  # other folders of the same files are other datasets


def _read_wsol(folder: str, tables: dict[str, str], notes: Notes) -> Iterator[tuple[str, Row]]:
    for one in read_entries(folder, tables, len(imagenet_classes()), BOX, notes):
        yield stem_of(one.name), Row(one.label, [(one.label, box) for box in one.rows], one.width, one.height)


def _compared(stem: str, first: Row, second: Row, where: str, notes: Notes) -> Row:
    """The first annotation, with the size of the second if both have the same boxes."""
    example = "" if where.startswith("between") else stem
    if first.label != second.label:
        notes.count(f"labels differ {where}: the former is used", example=example)
    if {tuple(edges) for _, edges in first.boxes} != {tuple(edges) for _, edges in second.boxes}:
        notes.count(f"images have other boxes {where}: the former is used", example=example)
    elif not (first.width and first.height):
        return first._replace(width=second.width, height=second.height)
    return first


def _finished(row: Row, notes: Notes) -> Annotation:
    boxes, kept = half_open([edges for _, edges in row.boxes], row.width, row.height, notes)
    labels = np.array([label for label, _ in row.boxes], dtype=np.int32)[kept]
    notes.count("images have boxes of several classes: the first is the label", len(set(labels.tolist())) > 1)
    return Annotation(row.label, row.width, row.height, boxes, labels)
