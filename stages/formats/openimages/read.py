"""Reader of OpenImages30k: wsolevaluation's lists, the images and their masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from stages.classes import ClassInfo
from stages.errors import DataError
from stages.formats.class_folders import label_of, names_of_classes
from stages.formats.folder import find_images, require_folder
from stages.formats.named_files import find_named
from stages.formats.openimages import Options
from stages.formats.openimages.masks import frame_of, read_masks
from stages.formats.source import Notes, Source
from stages.formats.wsol import MASK, Entry, find_lists, read_entries
from stages.ingest.children import each
from stages.ingest.mask_images import fitted
from stages.ingest.paths import join
from stages.ingest.records import ImageRecord
from stages.ingest.run_lengths import MAX_PIXELS, extent
from stages.ingest.uris import walk

_CLASSES = 100
_LOCATIONS = "localization.txt"


def read(root: str, options: Options) -> Source:
    """Read one part, with images and masks that may lie anywhere below the root.

    An image has a mask and its box for each object of its class, and one region that is not scored where it is not
    an object's. Masks of another size than their image are brought to its own. The id of an image is its place in
    ``image_ids.txt``.

    Args:
        root: Local path or uri of a folder.
        options: The part to read.

    Raises:
        ConfigurationError: There is no such part.
        DataError: The root is missing or has no ``image_ids.txt``.
    """
    require_folder(root)
    files, notes = walk(root), Notes()
    folder, lists = find_lists(root, files, "openimages", options.split)
    entries = list(read_entries(folder, lists, _CLASSES, MASK, notes, optional=("image_sizes.txt", _LOCATIONS)))
    if not entries:
        raise DataError(f"{folder} names no image of the part {options.split}", about="root")
    if _LOCATIONS not in lists:
        notes.say(f"{folder} has no {_LOCATIONS}: there are labels only")
    classes = names_of_classes((one.name, one.label) for one in entries)
    records = _records(root, find_images(files).names, classes, entries, _LOCATIONS in lists, notes)
    return Source([ClassInfo(name) for name in classes], records, notes)


def _records(
    root: str, files: Sequence[str], classes: Sequence[str], entries: Sequence[Entry], located: bool, notes: Notes
) -> Iterator[ImageRecord]:
    index = {name: label for label, name in enumerate(classes)}
    found = find_named(root, files, [one.name for one in entries], "images", notes)
    uris = {one.name: join(root, found[one.name]) for one in entries}
    masked = [one.name for one in entries if one.rows]
    headers = dict(zip(masked, each("stages.ingest.header:header_at", [uris[name] for name in masked]), strict=True))
    masks = read_masks(root, files, entries, notes)
    for place, (one, (objects, ignored)) in enumerate(zip(entries, masks, strict=True), start=1):
        size = frame_of(headers.get(one.name), objects) or (one.width, one.height)
        small = size[0] * size[1] <= MAX_PIXELS
        what = f"images have masks and more than {MAX_PIXELS:,} pixels: the masks are left out"
        notes.count(what, bool(objects) and not small, example=one.name)
        counts = [fitted(mask.counts, mask.size, size) for mask in objects if small]
        edges = [extent(mask, *size) for mask in counts]
        filled = [at for at, (x0, _, x1, _) in enumerate(edges) if x1 > x0]
        notes.count("masks are empty: left out", len(edges) - len(filled), example=one.name)
        notes.count("images have no mask", located and not filled)
        label = label_of(one.name, one.label, index, notes)
        yield ImageRecord(
            image_id=place,
            uri=uris[one.name],
            file_name=found[one.name],
            label=label,
            width=size[0],
            height=size[1],
            boxes=np.array([edges[at] for at in filled], np.float32).reshape(-1, 4),
            box_labels=np.full(len(filled), label, np.int32),
            masks=tuple(counts[at] for at in filled),
            ignore=fitted(ignored[0].counts, ignored[0].size, size) if ignored and filled else None,
        )
