"""Counts behind the scores of a run, accumulated part by part, so that memory holds the counts only."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.store.manifest import Shard, read_shard
from pipeline.store.rundir import RunDir
from pipeline.store.tables import COUNTS, FAITHFULNESS
from stages.batch import Batch, take
from stages.evaluate.baselines import Baselines
from stages.evaluate.faithfulness import counts as faithfulness
from stages.evaluate.metrics.counts import Counts, merge
from stages.evaluate.truth import every_label

COLUMNS = ["image_id", "method", "target_rank", "class_index", "prob", "box_status", "iou"]
"""Columns of the predictions that metrics read."""


def light_rows(part: pa.Table, methods: list[str], ids: np.ndarray, labels: np.ndarray) -> Batch:
    """The light columns of a part as arrays.

    Args:
        part: Predictions, with all of :data:`COLUMNS`.
        methods: Methods of the run; ``method`` becomes the position in them, -1 for others.
        ids: Image ids of the manifest, ascending.
        labels: Their labels, which become the column ``label``.
    """
    rows: Batch = {name: part[name].to_numpy() for name in ("image_id", "target_rank", "class_index", "prob")}
    known = pc.fill_null(pc.index_in(part["method"], pa.array(methods, pa.string())), -1)
    rows["method"] = known.to_numpy().astype(np.int16)
    rows["iou"] = part["iou"].to_numpy(zero_copy_only=False).astype(np.float32)
    rows["label"] = labels[np.searchsorted(ids, rows["image_id"])]
    return rows


class Tally:
    """Counts of the parts added so far.

    Attributes:
        seen: Image ids of each part.
        ranked: Whether there are rows of predicted classes, not of labels alone.
        counts: Metric counts that the workers stored with the parts.
        statuses: Number of maps of each status, by method.
        faithfulness: Faithfulness counts that the workers stored with the parts, where it was computed.
        baselines: Counts of the predictors that look at no pixel.
    """

    def __init__(self, run: RunDir, methods: list[str], blind: Baselines, several: bool) -> None:
        """Start with empty counts.

        Args:
            run: The run, whose manifest has the ground truth.
            methods: Methods of the run.
            blind: Scores the baselines.
            several: Whether every label of an image counts, not the first alone.
        """
        self._run, self._methods, self._blind, self._several = run, methods, blind, several
        self.seen: list[np.ndarray] = []
        self.ranked = False
        self.counts = Counts()
        self.faithfulness: faithfulness.Counts = {}
        self.statuses: dict[str, Counter[str]] = defaultdict(Counter)
        self.baselines = Counts()

    def add(self, part: pa.Table, ids: np.ndarray, labels: np.ndarray) -> None:
        """Count a part; its images must not have been counted before.

        Args:
            part: Predictions, with all of :data:`COLUMNS`.
            ids: Image ids of the manifest, ascending.
            labels: Their labels.

        Raises:
            DataError: Another version of the program counted it.
        """
        self.counts = merge(self.counts, Counts.from_json(part.schema.metadata[COUNTS].decode()))
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
        truth = read_shard(self._run.manifest, Shard(0, int(start), int(stop)))
        truth = every_label(truth) if self._several else truth
        scored = (truth["label"] >= 0) & np.isin(truth["image_id"], rows["image_id"][~np.isnan(rows["iou"])])
        self.baselines = merge(self.baselines, self._blind.update(take(truth, scored)))
