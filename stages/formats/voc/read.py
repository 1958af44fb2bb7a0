"""Reader of Pascal VOC datasets, and of folders of images with an XML file beside each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stages.classes import ClassInfo
from stages.errors import DataError
from stages.formats.delimited import text_of
from stages.formats.folder import find_images, require_folder
from stages.formats.labels import main_class
from stages.formats.source import Notes, Source
from stages.formats.voc import Options
from stages.formats.voc.annotation import Annotation, edges, find_origin, parse
from stages.formats.voc.image_sets import classes_of, find_set, stems_of
from stages.formats.voc.layout import SETS, folder_of, of_part, pictures_of, top_of, xml_files
from stages.formats.xml_files import files_of_folder
from stages.ingest.clip import clip_boxes, count_clipped
from stages.ingest.paths import join
from stages.ingest.records import ImageRecord
from stages.ingest.uris import walk


def read(root: str, options: Options) -> Source:
    """Read ``Annotations/``, ``JPEGImages/`` and a list of ``ImageSets/Main/``, or images with XML files beside them.

    An image and its annotation have one name but for the extension, whatever the annotation says; sub-folders are
    part of it. Classes are those of ``labelmap.txt``, then the other names of objects in bytewise order. The label of
    an image is the class with most area; where it has no objects, the first of the lists ``CLASS_PART.txt``.

    Args:
        root: Local path or uri of the folder, or of one around it.
        options: The part to read, and what its boxes are.

    Raises:
        ConfigurationError: There is no such part.
        DataError: The root is missing, or has no images or no annotations.
    """
    require_folder(root)
    names, notes = walk(root), Notes()
    found = find_images(names)
    found.require(root)
    top = top_of(root, names)
    pictures = pictures_of(top, found.names)
    xml = xml_files(top, names, pictures, notes)
    chosen = find_set(root, f"{top}{SETS}", names, options.split, notes)
    if not xml and chosen is None:
        raise DataError(f"{root} has no XML files and no lists in {SETS}", about="root")
    listed = sorted(xml) if chosen is None else stems_of(join(root, chosen), pictures, notes)
    stems = [one for one in listed if one in pictures]
    what = "annotated images" if chosen is None else f"images of {chosen.rpartition('/')[2]}"
    missing = [one for one in listed if one not in pictures]
    notes.count(f"{what} are not there: left out", len(missing), example=missing[0] if missing else "")
    if not stems:
        raise DataError(f"none of the {len(listed):,} {what} is under {root}", about="root")
    if chosen is None:
        notes.count("images have no XML file: left out", len(pictures) - len(stems))
        stems = of_part(root, stems, options.split, notes)
    tags = {} if chosen is None else classes_of(root, chosen, names, notes)
    with_xml = [one for one in stems if one in xml]
    notes.count("images have no XML file", len(stems) - len(with_xml))
    contents = files_of_folder(root, [xml[one] for one in with_xml])
    read_ones = (parse(name, content, notes) for name, content in contents)
    of = {stem: one for stem, one in zip(with_xml, read_ones, strict=True) if one is not None}
    origin = find_origin(list(of.values()), notes) if options.origin == "auto" else options.origin
    named = {name for one in of.values() for name, _ in one.objects} | {one for own in tags.values() for one in own}
    classes = _classes(root, f"{top}labelmap.txt", names, named, notes)
    index = {name: at for at, name in enumerate(classes)}

    def records() -> Iterator[ImageRecord]:
        for number, stem in enumerate(sorted(stems), start=1):
            one = of.get(stem, Annotation([], 0, 0))
            given = edges(one, origin)
            boxes, kept = clip_boxes(given, one.width, one.height)
            notes.count("boxes dropped: empty, inverted or outside their image", len(kept) - len(boxes))
            notes.count("boxes clipped: they end outside their image", count_clipped(given[kept], boxes))
            owners = np.array([index[name] for name, _ in one.objects], np.int32)[kept]
            labels = tuple(index[name] for name in tags.get(stem, []))
            label = main_class(boxes, owners)
            file = pictures[stem]
            yield ImageRecord(
                image_id=number,
                uri=join(root, file),
                file_name=file.removeprefix(folder_of(top, file)),
                label=label if label >= 0 else labels[0] if labels else -1,
                width=one.width,
                height=one.height,
                boxes=boxes,
                box_labels=owners,
                labels=labels,
            )

    return Source([ClassInfo(name) for name in classes], records(), notes)


def _classes(root: str, file: str, names: list[str], named: set[str], notes: Notes) -> list[str]:
    lines = text_of(join(root, file), notes).splitlines() if file in names else []
    listed = [line.rsplit(":", 3)[0].strip() for line in lines if line.strip() and not line.startswith("#")]
    # datumaro writes a background, which no object has.
    known = [one for one in dict.fromkeys(listed) if one != "background" or one in named]
    return known + sorted(named - set(known), key=str.encode)
