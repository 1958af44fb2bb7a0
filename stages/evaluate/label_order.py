"""Finds labels that number the classes in another order than the network does."""

from __future__ import annotations

import numpy as np

FEWEST = 30
"""Labelled images below which nothing is said."""


def label_order_warning(labels: np.ndarray, predicted: np.ndarray, probs: np.ndarray) -> str | None:
    """Say so where a network is sure or consistent, and still almost always wrong.

    Permuted labels leave their mark: images of one label agree on a prediction that is not the label.
    Where every label occurs once, a high mean probability of wrong predictions is the mark.

    Args:
        labels: (N,) labels, >= 0.
        predicted: (N,) first predictions.
        probs: (N,) their probabilities.

    Returns:
        One line, or None.
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
