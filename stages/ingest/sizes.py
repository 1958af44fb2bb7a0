"""Displayed sizes of the images of a dataset, its boxes in the displayed images, and what else their headers say."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from stages.errors import UserError
from stages.ingest import run_lengths
from stages.ingest.clip import clip_boxes, count_clipped
from stages.ingest.decode import Header, read_header
from stages.ingest.depth import is_deep
from stages.ingest.geometry import upright_boxes, upright_mask
from stages.ingest.records import Dataset, Frame, ImageRecord
from stages.ingest.uris import read_bytes

# Enough for the header of nearly every file; the others are read whole.
_HEADER_BYTES = 1 << 16

_TURNED = "images are stored turned or mirrored, and so are their boxes: these are turned with them"
_OTHER_SIZE = "images have neither as stored nor as displayed the size that is stated for them"


def fill_sizes(dataset: Dataset, threads: int = 8) -> Dataset:
    """Bring sizes and boxes to the displayed images, by the headers of these, and clip the boxes.

    Where an image's stated size is that of the stored image alone or of the displayed one alone, its boxes are in
    that frame, and else in that of all such images, or in the dataset's where there are none or they differ. An image
    that cannot be read keeps its stated size, or 0; decoding it later reports what is wrong. Without a frame, images
    with a size are left alone.

    Args:
        dataset: Dataset as its format returned it.
        threads: Number of headers read at a time.

    Returns:
        The dataset with displayed sizes; notes count the images whose boxes were turned or whose stated size is
        another, and the boxes that are outside their image, wholly or in part.

    Raises:
        UserError: A package that the images need is not installed.
    """
    with ThreadPoolExecutor(threads) as pool:
        seen = list(pool.map(partial(_seen, frame=dataset.frame), dataset.records))
        frame = _frame([one for one in seen if one[1]]) or dataset.frame
        filled = list(pool.map(partial(_filled, frame=frame), *zip(*seen, strict=True))) if seen else []
    records, found = [record for record, _, _ in filled], [finding for _, finding, _ in filled]
    lost = sum(len(old.boxes) - len(new.boxes) for old, new in zip(dataset.records, records, strict=True))
    counts = {
        _TURNED: found.count(_TURNED),
        _OTHER_SIZE: found.count(_OTHER_SIZE),
        "boxes dropped: outside their image": lost,
        "boxes clipped: they end outside their image, whose size is read from its file": sum(
            clipped for _, _, clipped in filled
        ),
    }
    notes = [f"{count:,} {what}" for what, count in counts.items() if count]
    return replace(dataset, records=records, notes=[*dataset.notes, *notes], frame=None)


def _seen(record: ImageRecord, frame: Frame | None) -> tuple[ImageRecord, Header | None]:
    """The record with what its header says, and the header where it is needed and can be read."""
    stated = all((record.width, record.height))
    if frame is None and stated:
        return record, None
    header, deep = _header(record.uri)
    if header is None:
        return record if stated else replace(record, width=0, height=0), None
    return replace(record, deep=deep), header


def _frame(seen: Sequence[tuple[ImageRecord, Header | None]]) -> Frame | None:
    """The frame of the images whose stated sizes tell it, None where these contradict each other or there are none."""
    frames: set[Frame] = set()
    for record, header in seen:
        stated = (record.width, record.height)
        if header is not None and header.stored != header.displayed and stated in header[:2]:
            frames.add("stored" if stated == header.stored else "displayed")
    return frames.pop() if len(frames) == 1 else None


def _filled(record: ImageRecord, header: Header | None, frame: Frame | None) -> tuple[ImageRecord, str, int]:
    """The record in the frame of the displayed image, a finding, if any, and the number of boxes that are clipped."""
    if header is None:
        return record, "", 0
    stated = (record.width, record.height)
    if all(stated) and stated not in (header.stored, header.displayed):
        return record, _OTHER_SIZE, 0
    decides = all(stated) and header.stored != header.displayed
    turned = header.orientation != 1 and (stated == header.stored if decides else frame == "stored")
    finding = _TURNED if turned and (len(record.boxes) or record.ignore) else ""
    upright = _upright(record, header) if turned else record
    width, height = header.displayed
    boxes, kept = clip_boxes(upright.boxes, width, height)
    masks = tuple(mask for mask, keep in zip(upright.masks, kept, strict=True) if keep) if upright.masks else ()
    labels = upright.box_labels[kept]
    filled = replace(upright, width=width, height=height, boxes=boxes, box_labels=labels, masks=masks)
    return filled, finding, count_clipped(upright.boxes[kept], boxes)


def _upright(record: ImageRecord, header: Header) -> ImageRecord:
    """The record with its boxes and masks, which are those of the stored image, in the displayed one."""

    def turned(mask: bytes) -> bytes:
        return run_lengths.encode(upright_mask(run_lengths.decode([mask], *header.stored), header.orientation))

    return replace(
        record,
        boxes=upright_boxes(record.boxes, *header.stored, header.orientation),
        masks=tuple(mask and turned(mask) for mask in record.masks),
        ignore=record.ignore and turned(record.ignore),
    )


def _header(uri: str) -> tuple[Header | None, bool]:
    """Sizes and orientation, and whether the samples have more than 8 bits, from the first bytes or else from all.

    None where neither gives them.
    """
    for limit in (_HEADER_BYTES, None):
        try:
            data = read_bytes(uri, limit)
            if data.startswith(b"\x89PNG") and len(data) == limit:
                continue  # its orientation may be at its end
            return read_header(data), is_deep(data)
        except UserError:
            raise
        # As in decode(), Pillow's plugins may raise anything; an unreadable image is reported when it is decoded.
        except Exception:
            continue
    return None, False
