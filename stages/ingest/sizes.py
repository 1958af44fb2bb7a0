"""Displayed sizes of the images of a dataset, its boxes in the displayed images, and what else their headers say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from stages.ingest import run_lengths
from stages.ingest.children import Lost, each
from stages.ingest.clip import clip_boxes, count_clipped
from stages.ingest.geometry import upright_boxes, upright_mask
from stages.ingest.header import Header
from stages.ingest.records import Dataset, Frame, ImageRecord

_HEADER_AT = "stages.ingest.header:header_at"

_TURNED = "images are stored turned or mirrored, and so are their boxes: these are turned with them"
_LOST = "images end or hang the process that reads their headers"
_OTHER_SIZE = "images have neither as stored nor as displayed the size that is stated for them"


def fill_sizes(dataset: Dataset) -> Dataset:
    """Bring sizes and boxes to the displayed images, by the headers of these, and clip the boxes.

    Where an image's stated size is that of the stored image alone or of the displayed one alone, its boxes are in
    that frame, and else in that of all such images, or in the dataset's where there are none or they differ. An image
    that cannot be read keeps its stated size, or 0; decoding it later reports what is wrong. Without a frame, images
    with a size are left alone. Headers are read in processes of their own: this one outlives whatever is in them.

    Args:
        dataset: Dataset as its format returned it.

    Returns:
        The dataset with displayed sizes; notes count the images whose boxes were turned or whose stated size is
        another, and the boxes that are outside their image, wholly or in part.

    Raises:
        UserError: A package that the images need is not installed.
    """
    seen, notes = _headers(dataset)
    frame = _frame(seen) or dataset.frame
    filled = [_filled(record, header, frame) for record, header in seen]
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
    notes += [f"{count:,} {what}" for what, count in counts.items() if count]
    return replace(dataset, records=records, notes=[*dataset.notes, *notes], frame=None)


def _headers(dataset: Dataset) -> tuple[list[tuple[ImageRecord, Header | None]], list[str]]:
    """Each record with what its header says, and the header where it is needed and can be read; and notes."""
    asked = [one for one in dataset.records if dataset.frame is not None or not (one.width and one.height)]
    found = dict(zip(map(id, asked), headers_of([one.uri for one in asked]), strict=True))
    lost = [one.file_name for one in asked if isinstance(found[id(one)], Lost)]
    notes = [f"{len(lost):,} {_LOST}, such as: {lost[0]}"] if lost else []
    return [_seen(one, found.get(id(one))) for one in dataset.records], notes


def headers_of(uris: Sequence[str]) -> Iterator[Header | Lost | None]:
    """The headers of images, read in processes of their own: None of one that cannot be read, :class:`Lost` of one that
    ends or hangs the process that reads it.

    Raises:
        UserError: A package that the images need is not installed.
    """
    for answer in each(_HEADER_AT, uris):
        if answer is None or isinstance(answer, Lost):
            yield answer
        else:
            displayed, stored, orientation, deep = answer
            yield Header(tuple(displayed), tuple(stored), orientation, deep)


def _seen(record: ImageRecord, header: Header | Lost | None) -> tuple[ImageRecord, Header | None]:
    if header is None or isinstance(header, Lost):
        return record if record.width and record.height else replace(record, width=0, height=0), None
    return replace(record, deep=header.deep), header


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
