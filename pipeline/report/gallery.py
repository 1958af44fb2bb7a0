"""The pictures of the page: the choice of images, and the content of their cards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config.recipe import FullRecipe
from pipeline.report import thumbnails
from pipeline.report.rows import FIRST, Overview
from pipeline.store.rundir import RunDir
from stages.boxes.threshold import heat
from stages.errors import UserError
from stages.ingest.children import Lost, each
from stages.ingest.geometry import fit_transform
from stages.ingest.levels import Levels

PICTURES = 12
BUDGET = 4_500_000
"""Maximum number of characters of pictures on one page; the first method is always shown."""
_PHOTOGRAPH = "pipeline.report.photograph:photograph"

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Card:
    """One image as one method explains it. Boxes are x, y, width, height in displayed pixels.

    Attributes:
        file_name: File name in the manifest.
        width: Displayed width in pixels.
        height: Displayed height in pixels.
        photo: Data URI; None where the image is gone.
        why_gone: The reason, where it is gone.
        heat: Data URI of the heat layer; None where the map has no foreground.
        target: Name of the explained class.
        label: Name of the ground-truth class, None for none.
        predicted: Name of the first prediction, None where predictions were not explained.
        prob: Its probability.
        wrong: Whether the prediction is known to be wrong.
        status: ``box_status`` of the row.
        iou: IoU with the ground truth; None without ground truth.
        truth: Ground-truth boxes of the label.
        estimate: The estimated box; None where there is none.
    """

    file_name: str
    width: int
    height: int
    photo: str | None
    why_gone: str | None
    heat: str | None
    target: str
    label: str | None
    predicted: str | None
    prob: float | None
    wrong: bool
    status: str
    iou: float | None
    truth: list[Box]
    estimate: Box | None


@dataclass(frozen=True)
class Selection:
    """A titled group of images."""

    title: str
    ids: list[int]
    cards: list[Card] = field(default_factory=list)


@dataclass(frozen=True)
class Gallery:
    """The selections of one method."""

    method: str
    selections: list[Selection]


class _Photo(NamedTuple):
    """A thumbnail and the displayed size, or the reason why there is none."""

    uri: str | None
    why_gone: str | None
    width: int = 0
    height: int = 0


def select(ids: np.ndarray, iou: np.ndarray, seed: int) -> list[Selection]:
    """Choose best, worst and random images.

    Args:
        ids: (N,) image ids.
        iou: (N,) overlaps, NaN where an image has no ground truth.
        seed: Seed of the random choice, which depends on the ids alone: all methods show the same images.

    Returns:
        The selections: only the random one without ground truth; all images in one where there are few.
    """
    scored = ~np.isnan(iou)
    order = np.lexsort((ids, -iou))[: scored.sum()]
    best, worst = ids[order], ids[np.lexsort((ids, iou))][: scored.sum()]
    shuffled = np.random.default_rng(seed).permutation(np.sort(ids[scored] if scored.any() else ids))
    if 0 < len(best) <= PICTURES:
        return [Selection("All, best first", best.tolist())]
    named = (("Best", best), ("Worst", worst), ("Random", shuffled))
    return [Selection(title, chosen[:PICTURES].tolist()) for title, chosen in named if len(chosen)]


def galleries(run: RunDir, overview: Overview, recipe: FullRecipe) -> tuple[list[Gallery], list[str]]:
    """The galleries of the methods that differ, as far as they fit on the page.

    Maps are read for the chosen images only.

    Returns:
        The galleries, and the methods that did not fit.
    """
    methods = recipe.methods
    rank = overview.rank
    shown: list[Gallery] = []
    for method in methods:
        if method in overview.same_as:
            continue
        rows = overview.of(methods.index(method), rank)
        shown.append(Gallery(method, select(rows["image_id"], rows["iou"], recipe.seed)))
    wanted = sorted({one for gallery in shown for selection in gallery.selections for one in selection.ids})
    stored = _read_rows(run, wanted)
    records = {row["image_id"]: row for row in _manifest_rows(run, wanted)}
    photos: dict[int, _Photo] = {}
    spent = 0
    for position, gallery in enumerate(shown):
        new = dict.fromkeys(one for selection in gallery.selections for one in selection.ids if one not in photos)
        photos |= zip(new, _photos([records[one]["uri"] for one in new], recipe.levels), strict=True)
        for selection in gallery.selections:
            for image_id in selection.ids:
                own = stored[image_id, gallery.method]
                card = _card(records[image_id], photos[image_id], own, rank, overview.names, recipe)
                selection.cards.append(card)
                spent += len(card.photo or "") + len(card.heat or "")
        if position and spent > BUDGET:
            return shown[:position], [one.method for one in shown[position:]]
    return shown, []


def _read_rows(run: RunDir, ids: list[int]) -> dict[tuple[int, str], dict[int, dict[str, Any]]]:
    """Complete rows of some images, by image and method, then by target rank."""
    found: dict[tuple[int, str], dict[int, dict[str, Any]]] = {}
    chosen = pa.array(ids, pa.int64())
    for part in run.predictions():
        picked = pc.field("image_id").isin(chosen) & (pc.field("target_rank") <= FIRST)
        for row in part.filter(picked).to_pylist():
            found.setdefault((row["image_id"], row["method"]), {}).setdefault(row["target_rank"], row)
    return found


def _manifest_rows(run: RunDir, ids: list[int]) -> list[dict[str, Any]]:
    chosen = pc.field("image_id").isin(pa.array(ids, pa.int64()))
    rows: list[dict[str, Any]] = pq.read_table(run.manifest, filters=chosen).to_pylist()
    return rows


def _photos(uris: list[str], levels: Levels) -> Iterator[_Photo]:
    """The pictures; one that cannot be had must not prevent the page."""
    made = 0
    try:
        for answer in each(_PHOTOGRAPH, uris, levels):
            made += 1
            yield _Photo(None, "the image ends or blocks its reader") if isinstance(answer, Lost) else _Photo(*answer)
    except UserError as error:
        yield from [_Photo(None, f"the image cannot be read ({type(error).__name__})")] * (len(uris) - made)


def _card(
    record: dict[str, Any],
    photo: _Photo,
    rows: dict[int, dict[str, Any]],
    rank: int,
    names: dict[int, str],
    recipe: FullRecipe,
) -> Card:
    row, first, label = rows[rank], rows.get(FIRST), record["label"]
    width, height = record["width"] or photo.width or 1, record["height"] or photo.height or 1
    own = zip(record["boxes"], record["box_labels"], strict=True)
    estimate = _corner_and_size(row["box"])
    return Card(
        file_name=record["file_name"],
        width=width,
        height=height,
        photo=photo.uri,
        why_gone=photo.why_gone,
        heat=_heat_layer(row, width, height, recipe),
        target=row["class_name"],
        label=names.get(label, f"class {label}") if label >= 0 else None,
        predicted=first["class_name"] if first else None,
        prob=first["prob"] if first else None,
        wrong=first is not None and label >= 0 and first["class_index"] != label,
        status=row["box_status"],
        iou=row["iou"],
        truth=[_corner_and_size(box) for box, owner in own if owner == label],
        estimate=estimate if estimate[2] > 0 and estimate[3] > 0 else None,
    )


def _corner_and_size(box: list[float]) -> Box:
    x0, y0, x1, y1 = (round(edge, 2) for edge in box)
    return x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)


def _heat_layer(row: dict[str, Any], width: int, height: int, recipe: FullRecipe) -> str | None:
    if not np.isfinite(row["map_scale"]):
        return None
    stored = np.array(row["map"], dtype=np.float16).reshape(row["map_h"], row["map_w"])
    values = heat(stored, recipe.protocol, recipe.frame_side)
    if not values.max() > 0:
        return None
    transform = fit_transform(width, height, recipe.frame_side, recipe.fit, recipe.crop_ratio)
    cutoff = recipe.protocol.cutoffs(np.array([recipe.protocol.threshold]))[0]
    return thumbnails.overlay(values, cutoff, transform, width, height)
