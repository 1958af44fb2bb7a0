"""Scores for the results of other programs: heat maps, or boxes with classes and scores."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.config.keys import named_keys
from pipeline.config.load import scoring_config
from pipeline.config.overrides import Overrides
from pipeline.config.recipe import FullRecipe, NetworkFacts, Recipe
from pipeline.engine.executors import inline
from pipeline.engine.job import Committed, Job
from pipeline.engine.machine import cores
from pipeline.engine.plan import Group, Outcome
from pipeline.engine.prepare import begin
from pipeline.engine.stages import scoring_stages
from pipeline.scores.calibration import calibrated_thresholds
from pipeline.scores.finalize import finalize
from pipeline.store.info import SCHEMA, RunInfo
from pipeline.store.manifest import ROW_GROUP, Shard, cut_into_shards, read_shard, to_table
from pipeline.store.rundir import RunDir, encode
from stages.batch import Batch, Resources, Stage, length, ragged, take
from stages.boxes.frame import scored_displayed
from stages.classify.network import Preprocess
from stages.errors import ConfigurationError, DataError
from stages.evaluate.coco_ap import average_precision
from stages.evaluate.stage import Evaluate
from stages.formats.coco.read import read_ground_truth
from stages.formats.coco.results import Results, read_results
from stages.formats.heat_maps import LoadMaps, find_maps
from stages.ingest.geometry import fit_transforms
from stages.ingest.records import ImageRecord

log = logging.getLogger("wsl_pipeline")

MAPS, PREDICTIONS = "maps", "predictions"
"""Names of the method in the metrics."""

GUESSES = 5
SHARD = 256
BATCH = 32


@named_keys()
def evaluate(ground_truth: Path, predictions: Path | None, maps: Path | None, overrides: Overrides) -> dict[str, Any]:
    """Score heat maps or boxes of another program against ground truth, by any protocol.

    A map explains the image's label, covers the whole image and may have any size. From a results list, the
    best box of the label's class is scored as GT-known, the first and the first five boxes by score as
    top-1 and top-5; an image without such a box counts as missed.

    Args:
        ground_truth: A COCO annotation file; its images need not exist.
        predictions: A COCO results list.
        maps: A folder of ``.npy`` files or a ``.npz`` file. Give exactly one of ``predictions`` and ``maps``.
        overrides: Those of ``box``, ``evaluate``, ``seed`` and ``model.size``.

    Returns:
        The content of a run's ``metrics.json``.

    Raises:
        UserError: Something that the user can fix, in one line.
    """
    if (predictions is None) == (maps is None):
        raise ConfigurationError("give either --predictions or --maps")
    config = scoring_config(MAPS if maps else PREDICTIONS, overrides)
    rules = Recipe.of(config)
    truth = read_ground_truth(str(ground_truth))
    dataset = truth.dataset
    # Foreign results have no preprocessing: their frame is the whole image.
    facts = NetworkFacts("", Preprocess(size=config.model.size or 224, crop_ratio=1.0))
    recipe = rules.with_network(facts).with_classes(dataset.classes)
    for note in dataset.notes:
        log.warning("%s", note)
    for record in dataset.records:
        if not record.width or not record.height:
            raise DataError(f"{ground_truth}: image {record.image_id} has no width and height")
    if maps:
        records = [record for record in dataset.records if record.label >= 0]
        found = find_maps(maps, dataset.records)
        bare = [record.image_id for record in records if record.image_id not in found]
        if bare:
            raise DataError(f"--maps: {len(bare)} images with boxes have no map in {maps}, such as image {bare[0]}")
        return _score(recipe, records, [LoadMaps(maps), *scoring_stages(recipe)], MapJob, names=found)
    assert predictions is not None
    results = read_results(predictions, {record.image_id for record in dataset.records}, truth.categories)
    judge = Evaluate(recipe.protocol, recipe.size, recipe.deltas, recipe.excluded)
    metrics = _score(recipe, dataset.records, [judge], BoxJob, results=results)
    # COCO AP counts all boxes of the list, not only the first five, and the crowds of the ground truth.
    if precision := average_precision(truth.content, results.entries, recipe.excluded):
        metrics["methods"][PREDICTIONS]["coco"] = precision
    return metrics


def _score(
    recipe: FullRecipe,
    records: list[ImageRecord],
    stages: list[Stage],
    job: type[MapJob] | type[BoxJob],
    **options: Any,
) -> dict[str, Any]:
    """Score with the last stages of a run, in a temporary folder."""
    if not records:
        raise DataError("--ground-truth: no image has a box to score")
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
        work = job(run, BATCH, [*recipe.class_names, ""], recipe=recipe, **options)
        groups = [Group(stages, Resources())]
        for _ in inline.execute(groups, cut_into_shards(len(records), SHARD), work, cores(), lambda: None):
            pass
        return finalize(run, recipe, calibrated_thresholds(run.manifest, recipe))


@dataclass(frozen=True, kw_only=True)
class MapJob(Job):
    """A job over heat maps: one row per image, for its label.

    Attributes:
        recipe: The rules of scoring.
        names: Map name of each image.
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
            "map_name": ragged(self.names[int(image)] for image in images["image_id"]),
        }
        return [take(rows, slice(at, at + self.batch_size)) for at in range(0, count, self.batch_size)]

    def commit(self, shard: Shard, outcomes: list[Outcome]) -> Committed:
        """Store the rows without the maps, which are not copied."""
        for outcome in outcomes:
            outcome.rows["map"] = ragged([np.zeros((0, 0), np.float16)] * length(outcome.rows))
        return super().commit(shard, outcomes)


@dataclass(frozen=True, kw_only=True)
class BoxJob(Job):
    """A job over predicted boxes: for each image one row for its label, and one for each guess.

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
        rows, ranks, picked = [], [], []
        for row, (start, end, label) in enumerate(zip(starts, ends, images["label"].tolist(), strict=True)):
            own = np.arange(start, end)
            if label >= 0:
                rows.append(row)
                ranks.append(0)
                picked.append(next(iter(own[found.class_index[own] == label]), -1))
            rows += [row] * guesses
            ranks += range(1, guesses + 1)
            picked += [*own[:guesses], *[-1] * (guesses - len(own))]
        index, rank = np.array(picked, np.int64), np.array(ranks, np.int8)
        batch = take(images, np.array(rows, np.int64))
        missing = index < 0
        box = np.concatenate([found.box, np.zeros((1, 4), np.float32)])[index]
        edges = np.stack([batch["width"], batch["height"]] * 2, axis=1).astype(np.float32)
        box = np.clip(box, 0, edges)
        classes = np.append(found.class_index, np.int32(-1))[index]
        transform = _squash(batch, self.recipe.size)
        nothing = ragged([None] * len(index))
        batch |= {
            "method": ragged([PREDICTIONS] * len(index)),
            "target_rank": rank,
            "class_index": np.where(rank == 0, batch["label"], classes).astype(np.int32),
            "prob": np.append(found.score, np.float32(0))[index],
            "transform": transform,
            "box": box,
            "scored_box": scored_displayed(box, transform, self.recipe.protocol, self.recipe.size),
            "box_status": ragged(np.where(missing, "not_predicted", "ok").tolist()),
            "sweep_box": nothing,
            "sweep_all": nothing,
            "map": ragged([np.zeros((0, 0), np.float16)] * len(index)),
            "map_scale": np.ones(len(index), np.float32),
        }
        return [batch]


def _squash(images: Batch, size: int) -> np.ndarray:
    """Transforms (N, 4) from whole images to the frame."""
    return fit_transforms(images["width"], images["height"], size, "squash", 1.0)
