"""Displayed sizes of images whose annotations do not contain them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from stages.errors import UserError
from stages.ingest.clip import clip_boxes, count_clipped
from stages.ingest.decode import displayed_size
from stages.ingest.records import Dataset, ImageRecord
from stages.ingest.uris import read_bytes

# Enough for the header of nearly every file; the others are read whole.
_HEADER_BYTES = 1 << 16


def fill_sizes(dataset: Dataset, threads: int = 8) -> Dataset:
    """Read the sizes that the records lack from the images' headers, and clip their boxes to them.

    An image that cannot be read keeps size 0; decoding it later reports what is wrong.

    Args:
        dataset: Dataset as its format returned it.
        threads: Number of headers read at a time.

    Returns:
        The dataset with sizes; notes count the boxes that are outside their image, wholly or in part.

    Raises:
        UserError: A package that the images need is not installed.
    """
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(_with_size, dataset.records))
    records = [record for record, _ in found]
    lost = sum(len(old.boxes) - len(new.boxes) for old, new in zip(dataset.records, records, strict=True))
    clipped = sum(count for _, count in found)
    notes = [f"{lost} boxes dropped: outside their image"] if lost else []
    notes += [f"{clipped} boxes clipped: they end outside their image"] if clipped else []
    return replace(dataset, records=records, notes=[*dataset.notes, *notes])


def _with_size(record: ImageRecord) -> tuple[ImageRecord, int]:
    """A record with its size, and the number of its boxes that are clipped to it."""
    if record.width and record.height:
        return record, 0
    width, height = _size(record.uri)
    boxes, kept = clip_boxes(record.boxes, width, height)
    sized = replace(record, width=width, height=height, boxes=boxes, box_labels=record.box_labels[kept])
    return sized, count_clipped(record.boxes[kept], boxes)


def _size(uri: str) -> tuple[int, int]:
    """The displayed size from the first bytes, or else from all of them; (0, 0) where neither gives one."""
    for limit in (_HEADER_BYTES, None):
        try:
            data = read_bytes(uri, limit)
            if data.startswith(b"\x89PNG") and len(data) == limit:
                continue  # its orientation may be at its end
            return displayed_size(data)
        except UserError:
            raise
        # As in decode(), Pillow's plugins may raise anything; an unreadable image is reported when it is decoded.
        except Exception:
            continue
    return 0, 0
