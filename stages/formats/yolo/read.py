"""Reader of YOLO datasets as ultralytics trains on them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from posixpath import splitext

import numpy as np

from stages.classes import ClassInfo
from stages.errors import DataError
from stages.formats.delimited import text_of
from stages.formats.folder import find_images
from stages.formats.labels import main_class
from stages.formats.parts import note_taken
from stages.formats.source import Notes, Source
from stages.formats.yolo import Options
from stages.formats.yolo.dataset_file import DatasetFile, read_dataset_file
from stages.formats.yolo.rows import Shape, parse
from stages.ingest.clip import clip_boxes, count_clipped
from stages.ingest.header import Header
from stages.ingest.paths import join
from stages.ingest.records import ImageRecord
from stages.ingest.sizes import headers_of
from stages.ingest.uris import read_bytes, walk

_MOST = 16 << 20
"""Most bytes of a label file."""
_MOST_CLASSES = 100_000
"""Most classes of a dataset that does not name them: a mistyped number would make as many."""


def read(root: str, options: Options) -> Source:
    """Read the images of a part, and the text file of each: ``/images/`` in its path becomes ``/labels/``.

    The part is a folder, a list of images, or several of these, relative to the dataset's file; what is not there is
    looked for by the end of its path. An image without a file, or with an empty one, has no objects. Boxes belong to
    the displayed image. The label of an image is the class with most area.

    Args:
        root: Local path or uri of the folder, or of its ``data.yaml``.
        options: The part to read.

    Raises:
        ConfigurationError: There is no such part.
        DataError: The root is missing, or has no images.
    """
    notes = Notes()
    dataset = read_dataset_file(root, options.split, notes)
    files = walk(dataset.root)
    found = find_images(files)
    found.require(dataset.root)
    images = _of_part(root, dataset, options.split, files, found.names, notes)
    known = set(files)
    labels = [name if (name := _label_file(image)) in known else None for image in images]
    notes.count("images have no label file: they have no objects", labels.count(None))
    shapes = list(_shapes(dataset.root, labels, dataset.has_keypoints, notes))
    numbers = {one.label for own in shapes for one in own if one.label < _MOST_CLASSES}
    names = _unique(dataset.names or [str(at) for at in range(max(numbers, default=-1) + 1)])
    records = _records(dataset.root, images, shapes, len(names), notes)
    return Source([ClassInfo(one) for one in names], records, notes)


def _records(
    root: str, images: Sequence[str], shapes: Sequence[list[Shape]], classes: int, notes: Notes
) -> Iterator[ImageRecord]:
    uris = [join(root, image) for image in images]
    headers = headers_of(uris)
    for number, (image, uri, own, header) in enumerate(zip(images, uris, shapes, headers, strict=True), start=1):
        width, height = header.displayed if isinstance(header, Header) else (0, 0)
        kept = [one for one in own if one.label < classes]
        notes.count("objects are of a class that has no name: left out", len(own) - len(kept))
        if kept and not (width and height):
            notes.count("images cannot be read, so that their relative boxes have no size: left out", example=image)
            kept = []
        edges = np.array([one.edges for one in kept], np.float64).reshape(-1, 4) * [width, height, width, height]
        boxes, there = clip_boxes(edges.astype(np.float32), width, height)
        owners = np.array([one.label for one in kept], np.int32)[there]
        notes.count("boxes dropped: empty or outside their image", len(there) - len(boxes))
        # Six decimals of a share end up to a thousandth of a pixel outside.
        notes.count("boxes clipped: they end outside their image", count_clipped(edges[there], boxes))
        deep = header.deep if isinstance(header, Header) else None
        label = main_class(boxes, owners)
        yield ImageRecord(number, uri, image, label, width, height, boxes, owners, deep=deep)


def _of_part(
    root: str, dataset: DatasetFile, split: str, files: list[str], names: list[str], notes: Notes
) -> list[str]:
    """The images of the first part that has any, relative to the root.

    Raises:
        DataError: None has any.
    """
    for part, places in dataset.parts.items():
        images = _images(dataset.root, places, files, names, notes)
        if images:
            others = [one for one in dataset.parts if one != part]
            if part != split:
                note_taken(notes, f"the images of {part} are", others)
            return images
    listed = ", ".join(place for places in dataset.parts.values() for place in places)
    raise DataError(f"{root}: none of the images of {listed} is there", about="root")


def _images(root: str, places: list[str], files: list[str], names: list[str], notes: Notes) -> list[str]:
    """The images of folders and lists, relative to the root, in bytewise order."""
    chosen: set[str] = set()
    for place in places:
        path = _relative(root, place)
        if path.lower().endswith(".txt"):
            name_of_list = _found(path, files)
            if name_of_list not in files:
                notes.say(f"no list {place} under {root}")
                continue
            listed = list(filter(None, map(str.strip, text_of(join(root, name_of_list), notes).splitlines())))
            ends = {_composed(one): one for one in names}
            for line in listed:
                name = _found(_relative(root, _composed(line)), ends)
                if name in ends:
                    chosen.add(ends[name])
                else:
                    notes.count(f"images of {path} are not there: left out", example=line)
            continue
        folder = _folder(path, names)
        own = [name for name in names if not folder or name.startswith(f"{folder}/")]
        if folder is None or not own:
            notes.say(f"no folder {place} with images under {root}")
            continue
        chosen |= set(own)
    return sorted(chosen)


def _composed(name: str) -> str:
    """A name in Unicode's composed form: file systems of macOS decompose names."""
    return unicodedata.normalize("NFC", name)


def _relative(root: str, path: str) -> str:
    """A path as it may lie below the root, without what leads to it or out of it."""
    path = path.replace("\\", "/").removeprefix(f"{root.rstrip('/')}/")
    return "/".join(part for part in path.split("/") if part not in ("", ".", ".."))


def _found(path: str, files: Sequence[str] | dict[str, str]) -> str:
    """The longest end of a path that is a file; the path itself where none is."""
    known = files if isinstance(files, dict) else set(files)
    parts = path.split("/")
    return next((end for at in range(len(parts)) if (end := "/".join(parts[at:])) in known), path)


def _folder(path: str, names: list[str]) -> str | None:
    """The longest end of a path that is a folder of images; None where none is."""
    parts = path.split("/") if path else []
    ends = ["/".join(parts[at:]) for at in range(len(parts))]
    if not ends:
        return ""
    return next((end for end in ends if any(name.startswith(f"{end}/") for name in names)), None)


def _label_file(image: str) -> str:
    """The label file of an image, relative to the same folder.

    >>> _label_file("images/val/images/a.b.jpg"), _label_file("pictures/a.jpg")
    ('images/val/labels/a.b.txt', 'pictures/a.txt')
    """
    before, mark, after = f"/{image}".rpartition("/images/")
    return f"{splitext(f'{before}/labels/{after}' if mark else f'/{image}')[0]}.txt"[1:]


def _shapes(root: str, files: Sequence[str | None], has_keypoints: bool, notes: Notes) -> Iterator[list[Shape]]:
    def content(name: str | None) -> bytes | None:
        try:
            return b"" if name is None else read_bytes(join(root, name), _MOST + 1)
        except OSError:
            return None

    with ThreadPoolExecutor(16) as pool:  # mostly waits for an object store
        for name, data in zip(files, pool.map(content, files), strict=True):
            if data is None or len(data) > _MOST:
                notes.count("label files cannot be read: their images have no objects", example=name or "")
                data = b""
            yield parse(name or "", data.decode("utf-8-sig", "replace"), has_keypoints, notes)


def _unique(names: list[str]) -> list[str]:
    """Names of which each stands once: a repeated one gets its number."""
    return [name if name not in names[:at] else f"{name} ({at})" for at, name in enumerate(names)]
