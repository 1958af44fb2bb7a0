"""The part of all predictions that the page needs: a few light columns, never the maps."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.store.rundir import RunDir
from pipeline.store.schema import PREDICTIONS
from stages.batch import Batch, concat, take

LABEL, FIRST = 0, 1
"""Target ranks on the page: the ground-truth label and the first prediction."""

_COLUMNS = ["image_id", "method", "target_rank", "class_index", "class_name", "prob", "box", "quality", "iou"]


@dataclass(frozen=True)
class Overview:
    """The first two target ranks of a run, and facts from all its rows.

    Attributes:
        rows: The columns ``image_id``, ``method`` (index into the run's methods), ``target_rank``,
            ``class_index``, ``prob``, ``quality`` (NaN without a box), ``iou`` (NaN without ground truth) and ``label``
            (-1 for none).
        names: Names of the classes that occur, by index.
        same_as: For a method that repeats another's boxes on every image, that earlier method.
    """

    rows: Batch
    names: dict[int, str]
    same_as: dict[str, str]

    @property
    def rank(self) -> int:
        """The target that galleries show: the label where images have one, otherwise the first prediction."""
        return LABEL if (self.rows["target_rank"] == LABEL).any() else FIRST

    def of(self, method: int, rank: int) -> Batch:
        """The rows of one method and target rank, one per image."""
        return take(self.rows, (self.rows["method"] == method) & (self.rows["target_rank"] == rank))

    def predicted_classes(self) -> Counter[int]:
        """Number of images for which each class is the first prediction."""
        return Counter(self.of(0, FIRST)["class_index"].tolist())


def read_overview(run: RunDir, methods: list[str]) -> Overview:
    """Read the light columns of every part, once, in order."""
    manifest = pq.read_table(run.manifest, columns=["image_id", "label"])
    ids, labels = manifest["image_id"].to_numpy(), manifest["label"].to_numpy()
    digests = {method: hashlib.sha256() for method in methods}
    names: dict[int, str] = {}
    found = [_light(PREDICTIONS.empty_table(), methods, ids, labels)]
    for part in run.predictions(_COLUMNS):
        for method, digest in digests.items():
            boxes = part.filter(pc.field("method") == method)["box"]
            digest.update(np.asarray(boxes.combine_chunks().flatten()).tobytes())
        pairs = part.group_by(["class_index", "class_name"]).aggregate([])
        names |= dict(zip(pairs["class_index"].to_pylist(), pairs["class_name"].to_pylist(), strict=True))
        found.append(_light(part, methods, ids, labels))
    first: dict[bytes, str] = {}
    for method in methods:
        first.setdefault(digests[method].digest(), method)
    same_as = {method: first[digests[method].digest()] for method in methods}
    return Overview(concat(found), names, {one: other for one, other in same_as.items() if one != other})


def _light(part: pa.Table, methods: list[str], ids: np.ndarray, labels: np.ndarray) -> Batch:
    part = part.filter(pc.field("target_rank") <= FIRST)
    rows: Batch = {name: part[name].to_numpy() for name in ("image_id", "target_rank", "class_index", "prob")}
    rows["method"] = pc.index_in(part["method"], pa.array(methods, pa.string())).to_numpy().astype(np.int16)
    for name in ("quality", "iou"):
        rows[name] = part[name].to_numpy(zero_copy_only=False).astype(np.float32)
    rows["label"] = labels[np.searchsorted(ids, rows["image_id"])]
    # Of several labels of an image, the first.
    return take(rows, (rows["target_rank"] != LABEL) | (rows["class_index"] == rows["label"]))
