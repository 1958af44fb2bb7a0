"""Box accuracy over all thresholds: MaxBoxAcc, MaxBoxAccV2 and their curve.

Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020, section 4.2: one
threshold for the whole data set, chosen on the scored images themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from stages.evaluate.statistics import bootstrap
from stages.evaluate.statistics.bootstrap import DECIMALS

V2_DELTAS = (0.3, 0.5, 0.7)
ORACLE = "oracle"


def box_accuracy(
    images: int,
    hits: np.ndarray,
    thresholds: np.ndarray,
    deltas: tuple[float, ...],
    hits_v2: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The metrics of a sweep as ``metrics.json`` has them.

    Args:
        images: How many were counted, at least 1.
        hits: (D, T) how many of them are right at each IoU level and threshold.
        thresholds: (T,) of :meth:`stages.boxes.protocols.Protocol.sweep_thresholds`.
        deltas: (D,) IoU levels.
        hits_v2: (D, T) for MaxBoxAccV2, where it looks at other boxes.
        seed: Of the intervals.

    Returns:
        ``max_box_acc``: for each IoU level the best accuracy and the first threshold that gives it, with
        the interval of the accuracy at that threshold, which leaves out that it was chosen;
        ``box_acc_curve``: the accuracies at all thresholds; ``max_box_acc_v2``: the mean of the best
        accuracies at 0.3, 0.5 and 0.7, absent where one of them was not counted. Its interval is the mean
        of theirs: exact where the three rise and fall together, which they nearly do, and wide otherwise.
        ``threshold_from`` says who chose: an ``oracle``, on the scored images.
    """
    names = [f"{delta:g}" for delta in deltas]
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
    if set(V2_DELTAS) <= set(deltas):
        best = (hits if hits_v2 is None else hits_v2).max(1)[[deltas.index(delta) for delta in V2_DELTAS]]
        intervals = [bootstrap.proportion(count, images, seed)["ci95"] for count in best]
        metrics["max_box_acc_v2"] = {
            "value": round(float(np.mean(best / images)), DECIMALS),
            "ci95": np.round(np.mean(intervals, axis=0), DECIMALS).tolist(),
            "n": int(images),
            "threshold_from": ORACLE,
        }
    return metrics
