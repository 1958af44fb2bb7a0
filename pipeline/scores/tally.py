"""What the scores of a run are made of, counted part by part: memory does not grow beyond the counts."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.store.manifest import Shard, read_shard
from pipeline.store.rundir import RunDir
from pipeline.store.tables import COUNTS, FAITHFULNESS
from stages.batch import Batch, take
from stages.evaluate import baselines, localization, losses, strata
from stages.evaluate.faithfulness import counts as faithfulness

COLUMNS = ["image_id", "method", "target_rank", "class_index", "prob", "box", "box_status", "iou"]
"""What metrics and COCO files read of the predictions: all but the maps."""


def light_rows(part: pa.Table, methods: list[str], ids: np.ndarray, labels: np.ndarray) -> Batch:
    """The light columns of a part as arrays.

    Args:
        part: With all of :data:`COLUMNS`.
        methods: ``method`` becomes the position in them, -1 for others.
        ids: Image ids of the manifest, ascending.
        labels: Their labels; ``label`` is each row's.
    """
    rows: Batch = {name: part[name].to_numpy() for name in ("image_id", "target_rank", "class_index", "prob")}
    known = pc.fill_null(pc.index_in(part["method"], pa.array(methods, pa.string())), -1)
    rows["method"] = known.to_numpy().astype(np.int16)
    rows["iou"] = part["iou"].to_numpy(zero_copy_only=False).astype(np.float32)
    rows["box"] = part["box"].combine_chunks().values.to_numpy().reshape(-1, 4) if part.num_rows else np.zeros((0, 4))
    rows["label"] = labels[np.searchsorted(ids, rows["image_id"])]
    return rows


class Tally:
    """Counts of the parts that were added so far.

    Attributes:
        seen: Image ids of each part.
        ranked: Whether there are rows of predicted classes, not of labels alone.
        localization: Counts that the workers left with the parts.
        statuses: How many maps of each status, by method.
        strata: By method.
        losses: By method; None before the first image that counts.
        faithfulness: Counts that the workers left with the parts, where it was asked for.
        baselines: Counts of the predictors that look at no pixel.
        blind_strata: Their counts by class and trait, by name.
    """

    def __init__(
        self,
        run: RunDir,
        methods: list[str],
        deltas: tuple[float, ...],
        classes: int,
        blind: baselines.Baselines,
    ) -> None:
        """Start from nothing.

        Args:
            run: Whose manifest tells the ground truth.
            methods: Of the run.
            deltas: IoU levels.
            classes: Outputs of the network.
            blind: Scores the baselines.
        """
        self._run, self._methods, self._deltas, self._classes = run, methods, deltas, classes
        self._blind, self._protocol = blind, blind.protocol
        self.seen: list[np.ndarray] = []
        self.ranked = False
        self.localization = localization.Counts()
        self.faithfulness: faithfulness.Counts = {}
        self.statuses: dict[str, Counter[str]] = defaultdict(Counter)
        self.strata = dict.fromkeys(methods, strata.Counts())
        self.losses: dict[str, losses.Counts | None] = dict.fromkeys(methods)
        self.baselines = baselines.Counts()
        self.blind_strata = dict.fromkeys(baselines.NAMES, strata.Counts())

    def add(self, part: pa.Table, ids: np.ndarray, labels: np.ndarray) -> None:
        """Count a part; its images must not have been counted before.

        Args:
            part: Predictions, with all of :data:`COLUMNS`.
            ids: Image ids of the manifest, ascending.
            labels: Their labels.
        """
        counts = localization.Counts.from_json(part.schema.metadata[COUNTS].decode())
        self.localization = localization.merge(self.localization, counts)
        faithful = faithfulness.from_json(part.schema.metadata.get(FAITHFULNESS, b"{}").decode())
        self.faithfulness = faithfulness.merge(self.faithfulness, faithful)
        if not part.num_rows:
            return
        rows = light_rows(part, self._methods, ids, labels)
        images = np.unique(rows["image_id"])
        self.seen.append(images)
        self.ranked |= bool((rows["target_rank"] >= 1).any())
        pairs = part.group_by(["method", "box_status"]).aggregate([([], "count_all")])
        for method, status, number in zip(*(pairs[name].to_pylist() for name in pairs.column_names), strict=True):
            self.statuses[method][status] += number
        start, stop = np.searchsorted(ids, [images[0], images[-1] + 1])
        scored = rows["image_id"][~np.isnan(rows["iou"])]
        self._score(rows, take(*self._with_truth(Shard(0, int(start), int(stop)), scored)))

    def _with_truth(self, shard: Shard, images: np.ndarray) -> tuple[Batch, np.ndarray]:
        """Rows of the manifest, and which of these images have a label and a box of it."""
        truth = read_shard(self._run.manifest, shard)
        boxed = np.array([len(boxes) > 0 for boxes in truth["boxes"]], bool)
        return truth, boxed & (truth["label"] >= 0) & np.isin(truth["image_id"], images)

    def _score(self, rows: Batch, truth: Batch) -> None:
        """Count what follows from light columns and ground truth."""
        ids, sizes = truth["image_id"], np.column_stack([truth["width"], truth["height"]])
        blind = self._blind.update(truth)
        self.baselines = baselines.merge(self.baselines, blind)
        seen = strata.traits(truth["label"], sizes, list(truth["boxes"]))
        for name, ious in blind.ious.items():
            counts = strata.update(seen, ious, self._deltas, self._classes, self._protocol.iou_comparator)
            self.blind_strata[name] = strata.merge(self.blind_strata[name], counts)
        counted = ~np.isnan(rows["iou"]) & (rows["label"] >= 0)
        ranked = bool((rows["target_rank"] == 1).any())
        for position, method in enumerate(self._methods):
            own = counted & (rows["method"] == position)
            known = take(rows, own & (rows["target_rank"] == 0))
            at = np.asarray(np.searchsorted(ids, known["image_id"]))
            rule = self._protocol.iou_comparator
            counts = strata.update(seen.take(at), known["iou"], self._deltas, self._classes, rule)
            self.strata[method] = strata.merge(self.strata[method], counts)
            first = take(rows, own & (rows["target_rank"] == 1)) if ranked else known
            if len(first["iou"]):
                right = first["class_index"] == first["label"] if ranked else None
                boxes = truth["boxes"][np.searchsorted(ids, first["image_id"])]
                rule = self._protocol.topk_iou_comparator if ranked else rule
                lost = losses.update(right, first["box"], list(boxes), first["iou"], self._deltas, rule)
                self.losses[method] = losses.merge(self.losses[method], lost)
