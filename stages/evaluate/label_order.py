"""Finds labels that number the classes in another order than the network does."""

from __future__ import annotations

import numpy as np

FEWEST = 30
"""Smallest number of labelled images for a warning."""


def label_order_warning(labels: np.ndarray, predicted: np.ndarray, probs: np.ndarray) -> str | None:
    """Warn where a network is confident or consistent, and still almost always wrong.

    Permuted labels show: images of one label agree on a prediction that is not the label. Where every label
    occurs once, a high mean probability of wrong predictions is the sign.

    Args:
        labels: (N,) labels, >= 0.
        predicted: (N,) first predictions.
        probs: (N,) probabilities of the predictions.

    Returns:
        Warning in one line, or None.
    """
    if len(labels) < FEWEST:
        return None
    accuracy = float((labels == predicted).mean())
    order = np.lexsort((predicted, labels))
    same_label = np.diff(labels[order]) == 0
    alike = (np.diff(predicted[order]) == 0)[same_label]
    consistency = float(alike.mean()) if len(alike) >= FEWEST else float(probs.mean())
    if consistency < 0.3 or accuracy > consistency / 4:
        return None
    shifts, counts = np.unique(predicted.astype(np.int64) - labels, return_counts=True)
    best = counts.argmax()
    hint = "give the dataset's classes the order of sorted wnids"
    if shifts[best] and counts[best] > len(labels) / 4:
        hint = f"most are off by {shifts[best]:+d}"
    return (
        f"the labels look permuted: top-1 accuracy is {accuracy:.1%}, though predictions are consistent "
        f"({consistency:.0%}); {hint}"
    )
