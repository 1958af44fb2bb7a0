"""Which classes of which image are explained, with every kind of target."""

from __future__ import annotations

import numpy as np

from stages.explain.targets import choose

LABEL = np.array([4, -1, 0])
OTHERS = [{2: (), 1: ()}, {}, {3: ()}]
PROBS = np.array([[0.9, 0.2, 0.6, 0.1, 0.7], [0.1, 0.2, 0.3, 0.4, 0.0], [0.5, 0.9, 0.8, 0.7, 0.6]], np.float32)
BEST = np.argsort(-PROBS, axis=1)[:, :2]


def chosen(*targets, present=0.5):
    """Pairs of rank and class of each image."""
    classes, ranks, kept = choose(targets, present, LABEL, OTHERS, BEST, PROBS)
    assert classes.shape == kept.shape == (3, len(ranks))
    return [
        [(int(ranks[at]), int(row[at])) for at in np.flatnonzero(own)] for row, own in zip(classes, kept, strict=True)
    ]


def test_the_label_and_the_best():
    assert chosen("label") == [[(0, 4)], [], [(0, 0)]]
    assert chosen("label", "top2") == [[(0, 4), (1, 0), (2, 4)], [(1, 3), (2, 2)], [(0, 0), (1, 1), (2, 2)]]
    assert chosen("top5") == [[(1, 0), (2, 4)], [(1, 3), (2, 2)], [(1, 1), (2, 2)]], "the network has two"


def test_all_labels_the_first_first():
    assert chosen("labels") == chosen("labels", "label") == [[(0, 4), (0, 1), (0, 2)], [], [(0, 0), (0, 3)]]


def test_what_is_present_and_the_first_in_any_case():
    several = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 0)]
    assert chosen("present") == [[(1, 0), (2, 4), (3, 2)], [(1, 3)], several]
    assert chosen("present", "top2", present=0.75) == [[(1, 0), (2, 4)], [(1, 3), (2, 2)], several[:2]]
    assert chosen("present", present=1) == [[(1, 0)], [(1, 3)], [(1, 1)]]
