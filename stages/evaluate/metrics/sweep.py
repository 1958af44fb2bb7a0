"""Box accuracy over all thresholds: MaxBoxAcc, MaxBoxAccV2, their curve, and GT-known at a calibrated threshold.

Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020, section 4.2: one
threshold for the whole data set, chosen on the scored images themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.batch import Batch
from stages.evaluate.metrics.contract import Counter, Scoring
from stages.evaluate.statistics import bootstrap
from stages.evaluate.statistics.bootstrap import DECIMALS

V2_DELTAS = (0.3, 0.5, 0.7)
ORACLE = "oracle"


@dataclass(frozen=True)
class SweepCounts:
    """Counts for the metrics of all thresholds.

    Attributes:
        images: Number of images with a threshold sweep.
        hits: (D, T) int64, how many of them are right at each IoU level and threshold; None without a sweep.
        hits_v2: Hits in the form of ``hits`` for MaxBoxAccV2, None where it uses the same boxes.
    """

    images: int = 0
    hits: np.ndarray | None = None
    hits_v2: np.ndarray | None = None


class _Sweep(Counter[SweepCounts]):
    name = "sweep"
    reads = ("iou", "sweep_hits", "sweep_hits_v2")

    def update(self, rows: Batch) -> SweepCounts:
        counted = (rows["label"] >= 0) & ~np.isnan(rows["iou"])
        swept = [row for row in np.flatnonzero(counted) if rows["sweep_hits"][row] is not None]
        return SweepCounts(len(swept), _total(rows["sweep_hits"][swept]), _total(rows["sweep_hits_v2"][swept]))

    def merge(self, a: SweepCounts, b: SweepCounts) -> SweepCounts:
        return SweepCounts(a.images + b.images, _sum(a.hits, b.hits), _sum(a.hits_v2, b.hits_v2))

    def compute(self, counts: SweepCounts, scoring: Scoring) -> dict[str, Any]:
        """Compute the metrics of a sweep.

        Returns:
            ``max_box_acc``: for each IoU level the best accuracy and the first threshold that gives it, with
            the interval of the accuracy at that threshold, which leaves out that it was chosen;
            ``box_acc_curve``: the accuracies at all thresholds; ``max_box_acc_v2``: the mean of the best
            accuracies at 0.3, 0.5 and 0.7, absent where one of them was not counted. Its interval is the mean
            of theirs: exact where the three rise and fall together, which they nearly do, and wide otherwise.
            ``threshold_from`` says who chose: an ``oracle``, on the scored images. ``gt_known_loc_calibrated``:
            the accuracies at ``scoring.calibrated``. Nothing without a sweep.
        """
        hits, images, seed = counts.hits, counts.images, scoring.seed
        if hits is None:
            return {}
        thresholds = scoring.protocol.sweep_thresholds()
        names = [f"{delta:g}" for delta in scoring.deltas]
        accuracy = np.round(hits / images, DECIMALS)
        shares = np.round(thresholds, DECIMALS)
        metrics: dict[str, Any] = {
            "max_box_acc": {
                name: bootstrap.proportion(level.max(), images, seed)
                | {"threshold": float(shares[level.argmax()]), "threshold_from": ORACLE}
                for name, level in zip(names, hits, strict=True)
            },
            "box_acc_curve": {
                "thresholds": shares.tolist(),
                **{name: values.tolist() for name, values in zip(names, accuracy, strict=True)},
            },
        }
        if set(V2_DELTAS) <= set(scoring.deltas):
            levels = [scoring.deltas.index(delta) for delta in V2_DELTAS]
            best = (hits if counts.hits_v2 is None else counts.hits_v2).max(1)[levels]
            intervals = [bootstrap.proportion(count, images, seed)["ci95"] for count in best]
            metrics["max_box_acc_v2"] = {
                "value": round(float(np.mean(best / images)), DECIMALS),
                "ci95": np.round(np.mean(intervals, axis=0), DECIMALS).tolist(),
                "n": int(images),
                "threshold_from": ORACLE,
            }
        if scoring.calibrated:
            metrics["gt_known_loc_calibrated"] = {
                name: bootstrap.proportion(level[np.abs(thresholds - threshold).argmin()], images, seed)
                | {"threshold": threshold}
                for name, level in zip(names, hits, strict=True)
                for threshold in [scoring.calibrated[name]]
            }
        return metrics

    def to_plain(self, counts: SweepCounts) -> dict[str, Any]:
        return {
            "images": counts.images,
            "hits": None if counts.hits is None else counts.hits.tolist(),
            "hits_v2": None if counts.hits_v2 is None else counts.hits_v2.tolist(),
        }

    def from_plain(self, plain: Any) -> SweepCounts:
        hits, hits_v2 = (None if plain[key] is None else np.array(plain[key], np.int64) for key in ("hits", "hits_v2"))
        return SweepCounts(plain["images"], hits, hits_v2)


SWEEP = _Sweep()


def _total(hits: np.ndarray) -> np.ndarray | None:
    """Sum of the (D, T) entries of an object column, None where it has none."""
    return None if not len(hits) or hits[0] is None else np.stack(list(hits)).sum(0, dtype=np.int64)


def _sum(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    return b if a is None else a if b is None else a + b
