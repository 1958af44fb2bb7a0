"""The masks that wsolevaluation's list names: one for each object, and one of a region that is not scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from stages.formats.named_files import find_named
from stages.formats.source import Notes
from stages.formats.wsol import Entry
from stages.ingest.children import Lost, each
from stages.ingest.paths import join
from stages.ingest.run_lengths import MAX_PIXELS

Size = tuple[int, int]
"""Width and height in pixels."""


class Mask(NamedTuple):
    """A mask as its file has it: its size, and run lengths."""

    size: Size
    counts: bytes


class Masks(NamedTuple):
    """The masks of one image: those of its objects, and of none or one region that is not scored."""

    objects: list[Mask]
    ignored: list[Mask]


def read_masks(root: str, files: Sequence[str], entries: Sequence[Entry], notes: Notes) -> Iterator[Masks]:
    """The masks of each image; those that are not there or cannot be read are counted.

    Args:
        root: The root.
        files: Relative names of the files below it.
        entries: The images, whose rows are a mask and the ignored region, empty in all rows but the first.
        notes: The findings.
    """
    objects = [list(dict.fromkeys(path for path, _ in one.rows if path)) for one in entries]
    regions = [list(dict.fromkeys(path for _, path in one.rows if path)) for one in entries]
    for one, own, others in zip(entries, objects, regions, strict=True):
        twice = sum(bool(path) for path, _ in one.rows) - len(own)
        notes.count("masks are named twice: they count once", twice, example=one.name)
        notes.count("images have several ignored regions: the first is used", len(others) > 1, example=one.name)
    there = _located(root, files, objects, "masks", notes)
    ignored = _located(root, files, [own[:1] for own in regions], "ignored regions", notes)
    uris = [join(root, file) for pair in zip(there, ignored, strict=True) for own in pair for file in own]
    answers = each("stages.ingest.mask_images:mask_at", uris)
    for own, others in zip(there, ignored, strict=True):
        masks = _usable(own, islice(answers, len(own)), "masks", notes)
        yield Masks(masks, _usable(others, islice(answers, len(others)), "ignored regions", notes))


def frame_of(header: Any, masks: Sequence[Mask]) -> Size | None:
    """The size that an image has in the frame of its masks: as it is displayed, or as it is stored, which their shape
    tells where the two differ.

    Args:
        header: What :func:`stages.ingest.header.header_at` says of the image.
        masks: Its masks.

    Returns:
        The size; that of the first mask where the image cannot be read, and None where there is no mask.
    """
    if not masks:
        return None
    if header is None or isinstance(header, Lost):
        return masks[0].size
    displayed, stored = (tuple(size) for size in header[:2])
    (width, height), (mask_width, mask_height) = displayed, masks[0].size
    return displayed if (width - height) * (mask_width - mask_height) > 0 else stored


def _located(
    root: str, files: Sequence[str], paths: Sequence[Sequence[str]], kind: str, notes: Notes
) -> list[list[str]]:
    """The files of each image's paths that are there."""
    found, known = find_named(root, files, [path for own in paths for path in own], kind, notes), set(files)
    return [[found[path] for path in own if found[path] in known] for own in paths]


def _usable(files: Sequence[str], answers: Iterable[Any], kind: str, notes: Notes) -> list[Mask]:
    masks = []
    for file, answer in zip(files, answers, strict=True):
        if answer is None or isinstance(answer, Lost):
            what = f"{kind} cannot be read, or have more than {MAX_PIXELS:,} pixels: left out"
            notes.count(what, example=file)
        else:
            width, height, counts = answer
            masks.append(Mask((width, height), counts.encode("ascii")))
    return masks
