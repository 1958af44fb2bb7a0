"""Paired differences between two runs, computed a second time.

It shares no code with the package: it reads the committed parts and the manifest of both runs, pairs the
images by id, and takes intervals and p-values from scipy. Run as a script it prints them as JSON:

    python tests/agreement/independent_compare.py RUN RUN METHOD METHOD
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy import stats


def overlaps(run: Path, method: str) -> tuple[dict[int, float], ...]:
    """By image: IoU of the label's box; of the first prediction's box; the best of the first five that are there.

    A prediction that is wrong has -1.
    """
    labels = {row["image_id"]: row["label"] for row in pq.read_table(run / "manifest.parquet").to_pylist()}
    known, first, five = {}, {}, defaultdict(list)
    for part in sorted((run / "predictions").glob("*.parquet")):
        for row in pq.read_table(part).to_pylist():
            if row["method"] != method or row["iou"] is None:
                continue
            if row["target_rank"] == 0:
                known[row["image_id"]] = row["iou"]
                continue
            guess = row["iou"] if row["class_index"] == labels[row["image_id"]] else -1.0
            five[row["image_id"]].append(guess)
            if row["target_rank"] == 1:
                first[row["image_id"]] = guess
    return known, first, {image: max(guesses) for image, guesses in five.items() if len(guesses) == 5}


def interval(first: np.ndarray, second: np.ndarray) -> dict[str, object]:
    """Mean difference with a 95 % percentile interval over images."""
    difference = second.astype(float) - first.astype(float)
    found = stats.bootstrap(
        (difference,),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        random_state=np.random.default_rng(1),
        batch=500,
    )
    low, high = found.confidence_interval
    return {"difference": float(difference.mean()), "ci95": [float(low), float(high)], "n": len(difference)}


def differences(one: Path, other: Path, method: str, other_method: str) -> dict[str, dict]:
    """GT-known, top-1 and top-5 localization at IoU 0.5, and mean IoU."""
    found = {}
    pairs = zip(overlaps(one, method), overlaps(other, other_method), strict=True)
    for name, (a, b) in zip(("gt_known_loc", "top1_loc", "top5_loc"), pairs, strict=True):
        both = sorted(a.keys() & b.keys())
        first, second = np.array([a[image] for image in both]), np.array([b[image] for image in both])
        if name == "gt_known_loc":
            found["mean_iou"] = interval(first, second)
        hits, other_hits = first >= 0.5, second >= 0.5
        lost, won = int((hits & ~other_hits).sum()), int((other_hits & ~hits).sum())
        p = stats.binomtest(lost, lost + won, 0.5).pvalue if lost + won else 1.0
        found[name] = interval(hits, other_hits) | {"mcnemar_p": float(p)}
    return found


if __name__ == "__main__":
    one, other, method, other_method = sys.argv[1:]
    print(json.dumps(differences(Path(one), Path(other), method, other_method)))
