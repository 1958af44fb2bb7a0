"""A folder of class folders (labels only), or a flat folder (no labels)."""

from __future__ import annotations

from stages.formats.folder import class_info, dataset, find_images, require_folder
from stages.ingest.paths import join
from stages.ingest.records import Dataset, ImageRecord
from stages.ingest.uris import is_folder, list_folder, walk


def read(root: str, split: str) -> Dataset:
    """Read ``root/SPLIT/<class>/**``, ``root/<class>/**`` or the images of a flat folder.

    The classes are the folders in bytewise order of their names, also those without images. The id of an
    image is the rank of its name, from 1, in bytewise order.

    Raises:
        DataError: The root is missing or has no images.
    """
    require_folder(root)
    prefix = f"{split}/" if split and is_folder(join(root, split)) else ""
    base = join(root, split) if prefix else root
    found = find_images(walk(base))
    found.require(base)

    folders = [name for name in list_folder(base)[0] if not name.startswith(".") and name != "__MACOSX"]
    used = {name.partition("/")[0] for name in found.names if "/" in name}
    names = folders if used else []
    label = {name: index for index, name in enumerate(names)}
    records = [
        ImageRecord(
            image_id=rank,
            uri=join(base, name),
            file_name=prefix + name,
            label=label[name.partition("/")[0]] if "/" in name else -1,
        )
        for rank, name in enumerate(found.names, start=1)
    ]
    return dataset(
        classes=[class_info(name) for name in names],
        records=records,
        notes=[found.skipped_line(), *_findings(names, used, sum(record.label < 0 for record in records))],
    )


def _findings(classes: list[str], used: set[str], loose: int) -> list[str]:
    notes = []
    if classes and loose:
        notes.append(f"{loose:,} images lie beside the class folders: they have no label")
    if empty := [name for name in classes if name not in used]:
        notes.append(f"{len(empty):,} of {len(classes):,} class folders have no images: {_some(empty)}")
    if classes and all(name.isdecimal() for name in classes) and classes != sorted(classes, key=int):
        notes.append(
            f"the class folders are numbers, taken in the order of their text: {_some(classes)}; "
            "pad them with zeros if the network counts them as numbers"
        )
    return notes


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
