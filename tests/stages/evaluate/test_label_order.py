from __future__ import annotations

import numpy as np

from stages.evaluate.label_order import label_order_warning


def predictions(labels, accuracy, classes, seed=0):
    generator = np.random.default_rng(seed)
    wrong = generator.random(len(labels)) > accuracy
    return np.where(wrong, generator.integers(0, classes, len(labels)), labels), np.full(len(labels), 0.8)


def test_a_good_and_a_bad_network_raise_no_alarm():
    labels = np.repeat(np.arange(20), 10)
    assert label_order_warning(labels, *predictions(labels, 0.8, 20)) is None
    assert label_order_warning(labels, *predictions(labels, 0.0, 20)) is None


def test_a_permutation_is_noticed():
    labels = np.repeat(np.arange(20), 10)
    predicted, probs = predictions(labels, 0.8, 20)
    shuffled = np.random.default_rng(1).permutation(20)
    assert "the labels look permuted: top-1 accuracy is" in label_order_warning(shuffled[labels], predicted, probs)


def test_a_shift_by_one_is_named():
    labels = np.repeat(np.arange(20), 10)
    predicted, probs = predictions(labels, 0.9, 20)
    assert "most are off by -1" in label_order_warning(labels + 1, predicted, probs)


def test_one_image_a_class_is_enough():
    labels = np.arange(300)
    predicted, probs = predictions(labels, 0.8, 300)
    assert "permuted" in label_order_warning(labels[::-1], predicted, probs)
    assert label_order_warning(labels[:20][::-1], predicted[:20], probs[:20]) is None
