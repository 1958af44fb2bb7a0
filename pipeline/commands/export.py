"""A run's boxes as a dataset of another tool."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.keys import named_keys
from pipeline.exports.boxes import boxes_of
from pipeline.exports.folder import new_folder
from pipeline.exports.names import export_names
from pipeline.exports.pictures import PICTURES, place_pictures
from pipeline.exports.splits import divided, parse_shares
from pipeline.store.info import RunInfo
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError, DataError, unknown
from stages.evaluate.clsloc import read_ids
from stages.formats.labels import Labelled, Split
from stages.formats.table import FORMATS, Format, writable
from stages.printable import printable


def _doubt(one: Labelled) -> tuple[float, int]:
    """Quality of an image's worst box; images without any are looked at first."""
    qualities = [label.quality for label in one.labels if label.quality is not None]
    return min(qualities, default=-1.0), one.image.image_id


_ORDERS: dict[str, Callable[[Labelled], Any]] = {"id": lambda one: one.image.image_id, "doubtful": _doubt}


@named_keys()
def export(
    run: str | Path,
    format: str,
    dest: str | Path,
    *,
    method: str | None = None,
    min_score: float = 0.0,
    min_quality: float = 0.0,
    order: str = "id",
    limit: int | None = None,
    ids: str | Path | None = None,
    split: str | None = None,
    images: str = "link",
    flatten: bool = False,
) -> dict[str, Any]:
    """Write the boxes of a finished run as a dataset.

    Args:
        run: The run.
        format: A format that is written.
        dest: New folder.
        method: Entry of ``explain.methods`` whose boxes are taken; the first where it is None.
        min_score: Probability of the class from which on a box counts; images stay.
        min_quality: Quality from which on a box counts; images stay.
        order: ``id``, or ``doubtful``, which puts first the images without a box, then those of the least quality.
        limit: Only the first images in that order.
        ids: File of image ids, one per line: only those images.
        split: Parts and their shares, such as ``train=0.8,val=0.2``; each class is divided alike.
        images: What becomes of the images.
        flatten: Whether the names of sub-folders become a part of the names of their images.

    Returns:
        ``format``, ``dest``, ``images``, ``boxes``, ``classes`` (their numbers) and ``notes``.

    Raises:
        ConfigurationError: An option is wrong, or the destination is not empty.
        DataError: The run is not complete, or one of its files is damaged.
        OutputError: The disk is full, or the destination cannot be written; nothing of it remains.
    """
    if format not in writable():
        raise unknown("format", format, list(writable()), about="export_format")
    if order not in _ORDERS:
        raise unknown("order", order, list(_ORDERS), about="order")
    if images not in PICTURES:
        raise unknown("way", images, list(PICTURES), about="images")
    if limit is not None and limit < 1:
        raise ConfigurationError(f"{limit} is no number of images", about="limit")
    for least, about in ((min_score, "min_score"), (min_quality, "min_quality")):
        if not 0 <= least <= 1:
            raise ConfigurationError(f"{least:g} is not in 0 to 1", about=about)
    shares = {} if split is None else parse_shares(split)
    directory, row = RunDir(run), FORMATS[format]
    info = directory.info()
    boxes = boxes_of(directory, method, min_score, min_quality)
    chosen = sorted(boxes.images, key=_ORDERS[order])
    if ids is not None:
        chosen = _listed(chosen, read_ids(str(ids), "ids"), run)
        if not chosen:
            raise DataError(f"{ids} lists no image; write one id per line", about="ids")
    chosen = chosen[:limit]
    names = export_names({one.image.image_id: one.image.file_name for one in chosen}, format, flatten)
    renamed = [Labelled(replace(one.image, file_name=names[one.image.image_id]), one.labels) for one in chosen]
    parts = divided(renamed, shares, directory.config().seed) if shares else {row.undivided: renamed}
    splits = [Split(name, partial(list, own)) for name, own in parts.items()]
    with new_folder(dest) as folder:
        about = _description(directory, info, boxes.reviewed)
        for name, content in row.writer()(splits, boxes.classes, about):
            _write(folder / name, content)
        notes = [*boxes.notes]
        if row.images is not None:
            notes += place_pictures(_pairs(folder, row, parts), images)
        if flatten:
            _write(folder / "mapping.csv", _mapping(chosen, names))
        found = {
            "format": format,
            "dest": str(dest),
            "images": len(chosen),
            "boxes": sum(label.box is not None for one in chosen for label in one.labels),
            "classes": len(boxes.classes),
            "notes": notes,
        }
        _write(folder / "README.txt", [_readme(about, row, found).encode()])
    return found


def _listed(images: list[Labelled], ids: np.ndarray, run: str | Path) -> list[Labelled]:
    """The images with these ids.

    Raises:
        DataError: The run has no boxes of one of them.
    """
    wanted = set(ids.tolist())
    if missing := sorted(wanted - {one.image.image_id for one in images}):
        raise DataError(
            f"{len(missing)} of {len(wanted)} ids are no images of {run}, such as {missing[0]}", about="ids"
        )
    return [one for one in images if one.image.image_id in wanted]


def _description(run: RunDir, info: RunInfo, reviewed: int) -> str:
    """What a dataset says of itself: where its boxes are from, and whether anybody looked at them."""
    config = run.config()
    made = f"{config.model.spec}, weights {info.weights_sha256[:12]}, {config.box.protocol}"
    seen = f"{reviewed:,} images reviewed by a person" if reviewed else "not reviewed by a person"
    return f"boxes by wsl-pipeline {info.versions.get('wsl-pipeline', '')} ({made}), {seen}"


def _pairs(folder: Path, row: Format, parts: dict[str, list[Labelled]]) -> Iterable[tuple[str, Path]]:
    """Uri of each image and its file in the export, whose folder is made."""
    for name, own in parts.items():
        below = folder / str(row.images).format(split=name).lstrip("/")
        for image, _ in own:
            target = below / image.file_name
            target.parent.mkdir(parents=True, exist_ok=True)
            yield image.uri, target


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(pieces)


def _mapping(images: list[Labelled], names: dict[int, str]) -> Iterable[bytes]:
    """The names of the images in the export and in the dataset, as CSV."""
    text = io.StringIO(newline="")
    rows = [(names[one.image.image_id], one.image.file_name) for one in images]
    csv.writer(text).writerows([("exported", "file_name"), *rows])
    yield text.getvalue().encode()


def _readme(about: str, row: Format, found: dict[str, Any]) -> str:
    lines = [
        f"{row.title} {row.loses}".strip(),
        f"{found['images']:,} images, {found['boxes']:,} boxes, {found['classes']:,} classes.",
        about,
        *found["notes"],
    ]
    return printable("\n".join(lines)) + "\n"
