"""Scores for the results of other programs: heat maps, or boxes with classes and scores."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.config.keys import named_keys
from pipeline.config.load import scoring_config
from pipeline.config.overrides import Overrides
from pipeline.config.recipe import FullRecipe, NetworkFacts, Recipe
from pipeline.engine.executors import inline
from pipeline.engine.job import RunJob
from pipeline.engine.machine import cores
from pipeline.engine.plan import Group
from pipeline.engine.prepare import begin
from pipeline.engine.stages import scoring_stages
from pipeline.exports.reviewed import reviewed_truth
from pipeline.scores.calibration import calibrated_thresholds
from pipeline.scores.finalize import finalize
from pipeline.store.info import SCHEMA, RunInfo
from pipeline.store.manifest import ROW_GROUP, Shard, cut_into_shards, read_shard, to_table
from pipeline.store.rundir import RunDir, encode
from stages.batch import Batch, Failure, Resources, Stage, length, ragged, take
from stages.boxes.frame import scored_displayed
from stages.classify.network import Preprocess
from stages.errors import ConfigurationError, DataError
from stages.evaluate.coco_ap import average_precision
from stages.evaluate.stage import Evaluate
from stages.explain.several_scales import Fuse
from stages.formats.coco.box_format import named_format
from stages.formats.coco.read import read_ground_truth
from stages.formats.coco.results import Results, read_results
from stages.formats.content import annotations_within
from stages.formats.heat_maps import LoadMaps, find_maps
from stages.formats.source import Notes
from stages.ingest.geometry import fit_transforms
from stages.ingest.paths import join
from stages.ingest.records import ImageRecord
from stages.ingest.uris import is_file

log = logging.getLogger("wsl_pipeline")

MAPS, PREDICTIONS = "maps", "predictions"
"""Names of the method in the metrics."""

GUESSES = 5
SHARD = 256
BATCH = 32


@named_keys()
def evaluate(
    ground_truth: Path,
    predictions: Path | None,
    maps: Path | None,
    overrides: Overrides,
    box_format: str = "auto",
    ground_truth_box_format: str = "auto",
) -> dict[str, Any]:
    """Score heat maps or boxes of another program against ground truth, by any protocol.

    A map explains the image's label, covers the whole image and may have any size; an image without one fails.

    From a results list, which may hold any number of boxes per image and class in any order, the best box of the
    label's class is scored as GT-known, the first and the first five boxes by score as top-1 and top-5
    localization, the first and the first five classes, each by its best box, as top-1 and top-5 classification. An
    image without such a box counts as missed.

    Args:
        ground_truth: A COCO annotation file, whose images need not exist; or a run, whose reviewed images are meant.
        predictions: A COCO results list.
        maps: A folder of ``.npy`` files or a ``.npz`` file. Give exactly one of ``predictions`` and ``maps``.
        overrides: Those of ``box``, ``evaluate``, ``seed``, ``data.annotation_limit`` and ``model.size``.
        box_format: Convention of the predicted boxes, and of the ground truth where its boxes show the same one.
        ground_truth_box_format: Convention of the boxes of the ground truth.

    Returns:
        The content of a run's ``metrics.json``.

    Raises:
        UserError: Something that the user can fix, in one line.
    """
    if (predictions is None) == (maps is None):
        raise ConfigurationError("give either --predictions or --maps")
    config = scoring_config(MAPS if maps else PREDICTIONS, overrides)
    rules = Recipe.of(config)
    predicted = named_format(box_format, "predictions_box_format")
    true = named_format(ground_truth_box_format, "ground_truth_box_format")
    # Without predictions there is nothing else that the one option could be about.
    with annotations_within(config.data.annotation_limit), _file_of(str(ground_truth)) as path:
        truth = read_ground_truth(path, predicted if maps and true == "auto" else true, likely=predicted)
    # Foreign results have no preprocessing: their frame is the whole image.
    facts = NetworkFacts("", Preprocess(size=config.model.size or 224, crop_ratio=1.0))
    recipe = rules.with_network(facts).with_classes(truth.dataset.classes)
    _warn(truth.dataset.notes)
    records = [record for record in truth.dataset.records if record.width and record.height]
    if unsized := [record.image_id for record in truth.dataset.records if not (record.width and record.height)]:
        what = f"{ground_truth}: image {unsized[0]} has no width and height"
        if not records:
            raise DataError(what)
        _warn([f"{len(unsized)} images are not scored, such as: {what}"])
    if not any(record.label >= 0 for record in records):
        raise DataError("--ground-truth: no image has a box or a label to score")
    if maps:
        return _score_maps(recipe, records, maps)
    assert predictions is not None
    sizes = {record.image_id: (record.width, record.height) for record in truth.dataset.records}
    with annotations_within(config.data.annotation_limit):
        results = read_results(predictions, truth.listed, sizes, predicted)
    _warn(results.notes)
    judge = Evaluate(recipe.protocol, recipe.frame_side, recipe.deltas, recipe.excluded)
    metrics = _score(recipe, records, [judge], BoxJob, results=results)
    # COCO AP counts all boxes of the list, not only the first five, and the crowds of the ground truth.
    left_out = np.concatenate([recipe.excluded, np.array(unsized, np.int64)])
    if precision := average_precision(truth.content, results.entries, left_out):
        metrics["methods"][PREDICTIONS]["coco"] = precision
    return metrics


@contextmanager
def _file_of(ground_truth: str) -> Iterator[str]:
    """The file of the ground truth; one of a run's reviews is there in the ``with`` block only."""
    if not is_file(join(ground_truth, "run.json")):
        yield ground_truth
        return
    with TemporaryDirectory(prefix="wsl-pipeline-") as folder:
        path = Path(folder) / "reviews.json"
        path.write_bytes(b"".join(reviewed_truth(RunDir(ground_truth))))
        yield str(path)


def _score_maps(recipe: FullRecipe, records: list[ImageRecord], maps: Path) -> dict[str, Any]:
    notes = Notes()
    names = find_maps(maps, records, notes)
    _warn(notes.lines())
    labelled = [record for record in records if record.label >= 0]
    making = [] if recipe.fused_below is None else [Fuse(recipe.fused_below)]
    metrics = _score(recipe, labelled, [LoadMaps(maps), *making, *scoring_stages(recipe)], MapJob, names=names)
    odd = {status: count for status, count in metrics["methods"][MAPS]["box_status"].items() if status != "ok"}
    kinds = ", ".join(f"{status} {count:,}" for status, count in odd.items())
    _warn([f"{sum(odd.values())} maps show no object: {kinds}"] if odd else [])
    return metrics


def _warn(lines: list[str]) -> None:
    for line in lines:
        log.warning("%s", line)


def _score(
    recipe: FullRecipe,
    records: list[ImageRecord],
    stages: list[Stage],
    job: type[MapJob] | type[BoxJob],
    **options: Any,
) -> dict[str, Any]:
    """Score with the last stages of a run, in a temporary folder."""
    with TemporaryDirectory(prefix="wsl-pipeline-") as folder:
        run = RunDir.open(Path(folder).resolve() / "run", recipe.config)
        info = RunInfo(
            schema=SCHEMA,
            images=len(records),
            shard_size=SHARD,
            precision="fp32",
            blacklist=recipe.protocol.blacklist,
        )
        begin(run, recipe, info, encode(to_table(records), ROW_GROUP))
        # Guesses that were not made get a class of their own: index -1 is the last name.
        work = job(run=run, batch_size=BATCH, class_names=[*recipe.class_names, ""], recipe=recipe, **options)
        groups = [Group(stages, Resources())]
        for _ in inline.execute(groups, cut_into_shards(len(records), SHARD), work, cores(), lambda: None):
            pass
        failed = [one for part in run.errors() for one in part["message"].to_pylist()]
        if len(failed) == len(records):
            raise DataError(f"none of {len(records)} images can be scored: {failed[0]}")
        if failed:
            _warn([f"{len(failed)} of {len(records)} images are not scored, such as: {failed[0]}"])
        return finalize(run, recipe, calibrated_thresholds(run.manifest, recipe))


@dataclass(frozen=True, kw_only=True)
class MapJob(RunJob):
    """A job over heat maps: one row per image, for its label.

    Attributes:
        recipe: The rules of scoring.
        names: Map name of each image that has one.
    """

    recipe: FullRecipe
    names: dict[int, str]

    def batches(self, shard: Shard) -> list[Batch]:
        """The shard's images, each with the name of its map."""
        images = read_shard(self.run.manifest, shard)
        count = length(images)
        rows = images | {
            "method": ragged([MAPS] * count),
            "target_rank": np.zeros(count, np.int8),
            "class_index": images["label"],
            "prob": np.ones(count, np.float32),
            "transform": _squash(images, self.recipe.size),
            "map_name": ragged(self.names.get(int(image), "") for image in images["image_id"]),
        }
        return self.cut(rows)

    def store(self, shard: Shard, rows: Batch, errors: list[Failure], machine: str) -> int:
        """Store the rows without the maps, which are not copied."""
        nothing = ragged([np.zeros((0, 0), np.float16)] * length(rows))
        return super().store(shard, rows | {"map": nothing} if rows else rows, errors, machine)


@dataclass(frozen=True, kw_only=True)
class BoxJob(RunJob):
    """A job over predicted boxes: for each image one row for its label, and one for each guess.

    A class whose best box comes behind the first five, but which is one of the first five classes, is a guess
    without a box, ``not_scored``: it counts for classification, not for localization.

    Attributes:
        recipe: The rules of scoring.
        results: The predicted boxes.
    """

    recipe: FullRecipe
    results: Results

    def batches(self, shard: Shard) -> list[Batch]:
        """The shard's images with their boxes; a box that was not predicted has no area."""
        images = read_shard(self.run.manifest, shard)
        found = self.results
        ids: np.ndarray = images["image_id"]
        starts, ends = np.searchsorted(found.image, ids), np.searchsorted(found.image, ids, side="right")
        # A list with one box per image does not say what the other four guesses were.
        guesses = GUESSES if (found.image[1:] == found.image[:-1]).any() else 1
        own = [
            [(row, *guess) for guess in _rows_of(found.class_index[start:end], start, label, guesses)]
            for row, (start, end, label) in enumerate(zip(starts, ends, images["label"].tolist(), strict=True))
        ]
        row, rank, index, scored = np.array([*chain(*own)], np.int64).reshape(-1, 4).T
        batch = take(images, row)
        missing = index < 0
        box = np.concatenate([found.box, np.zeros((1, 4), np.float32)])[index]
        edges = np.stack([batch["width"], batch["height"]] * 2, axis=1).astype(np.float32)
        box = np.where(scored[:, None] > 0, np.clip(box, 0, edges), np.float32(0))
        classes = np.append(found.class_index, np.int32(-1))[index]
        side = self.recipe.frame_side
        transform = _squash(batch, side)
        nothing = ragged([None] * len(index))
        batch |= {
            "method": ragged([PREDICTIONS] * len(index)),
            "target_rank": rank.astype(np.int8),
            "class_index": np.where(rank == 0, batch["label"], classes).astype(np.int32),
            "prob": np.append(found.score, np.float32(0))[index],
            "transform": transform,
            "box": box,
            "scored_box": scored_displayed(box, transform, self.recipe.protocol, side),
            "box_status": ragged(np.select([missing, scored == 0], ["not_predicted", "not_scored"], "ok").tolist()),
            "sweep_box": nothing,
            "sweep_all": nothing,
            "map": ragged([np.zeros((0, 0), np.float16)] * len(index)),
            "map_scale": np.ones(len(index), np.float32),
        }
        return [batch]


def _rows_of(classes: np.ndarray, start: int, label: int, guesses: int) -> list[tuple[int, int, bool]]:
    """Rows of one image: rank, place of the box (-1 where nothing was predicted), and whether the box is scored.

    Args:
        classes: (n,) classes of the image's boxes, by falling score.
        start: Place of the first of them.
        label: The image's label, -1 for none.
        guesses: Number of boxes that are guesses.
    """
    found, firsts = np.unique(classes, return_index=True)
    known = [(0, next(iter((start + firsts[found == label]).tolist()), -1), True)] if label >= 0 else []
    boxes = [(rank + 1, start + rank if rank < len(classes) else -1, True) for rank in range(guesses)]
    # Several boxes of a class may fill the guesses; a class behind them can still be one of the first five classes.
    behind = [first for first in sorted(firsts.tolist())[:guesses] if first >= guesses]
    return known + boxes + [(guesses, start + first, False) for first in behind]


def _squash(images: Batch, size: int) -> np.ndarray:
    """Transforms (N, 4) from whole images to the frame."""
    return fit_transforms(images["width"], images["height"], size, "squash", 1.0)
