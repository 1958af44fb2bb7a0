from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.train.splits import TEST, TRAIN, VALIDATION, deal_out, leaked

SHARES = {VALIDATION: 0.2, TEST: 0.25}
IMAGES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=60)


@given(IMAGES)
def test_every_class_is_learnt_and_no_content_is_in_two_splits(images):
    labels, contents = np.array([label for label, _ in images]), [str(content) for _, content in images]
    splits = deal_out(labels, contents, SHARES, seed=1)
    assert leaked(splits, contents) == []
    shown_once = {content for content in contents if len({a for a, b in images if str(b) == content}) == 1}
    for label in set(labels.tolist()):
        own = [row for row, one in enumerate(labels) if one == label]
        if any(contents[row] in shown_once for row in own):
            assert TRAIN in {splits[row] for row in own}


@given(IMAGES, st.randoms())
def test_the_order_of_the_images_does_not_matter(images, random):
    order = list(range(len(images)))
    random.shuffle(order)
    labels, contents = np.array([label for label, _ in images]), [str(content) for _, content in images]
    splits = deal_out(labels, contents, SHARES, seed=1)
    shuffled = deal_out(labels[order], [contents[row] for row in order], SHARES, seed=1)
    assert shuffled == [splits[row] for row in order]


def test_shares_are_those_of_every_class_and_the_seed_chooses():
    labels = np.repeat([0, 1], [100, 20])
    contents = [str(row) for row in range(120)]
    splits = deal_out(labels, contents, SHARES, seed=0)
    for label, count in ((0, 100), (1, 20)):
        found = Counter(split for split, one in zip(splits, labels, strict=True) if one == label)
        assert found == {VALIDATION: count // 5, TEST: count // 4, TRAIN: count - count // 5 - count // 4}
    assert splits != deal_out(labels, contents, SHARES, seed=1)


def test_what_measures_stays():
    splits = [TRAIN, VALIDATION, TEST, TRAIN, VALIDATION, TRAIN]
    assert leaked(splits, ["a", "a", "a", "b", "b", "c"]) == [0, 1, 3]
