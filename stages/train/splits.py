"""Images dealt out to training, validation and test, so that no picture is in two of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
"""Names of the splits, as manifests have them."""


def deal_out(labels: np.ndarray, contents: Sequence[str], shares: dict[str, float], seed: int) -> list[str]:
    """The split of each image: a seeded choice, the same share of every class.

    Images of one content are dealt out together. The split does not depend on the order of the images.

    Args:
        labels: (n,) class of each image.
        contents: A digest of each image's content.
        shares: Shares of the images by the name of their split; the rest is for training.
        seed: Seed of the choice.

    >>> deal_out(np.array([0, 0, 0, 0, 1, 1]), ["a", "b", "c", "a", "d", "e"], {"test": 0.5}, seed=0)
    ['test', 'train', 'test', 'test', 'test', 'train']
    """
    dealt: dict[str, str] = {}
    for label in np.unique(labels).tolist():
        # A picture may stand under several classes.
        free = sorted({contents[row] for row in np.flatnonzero(labels == label).tolist()} - set(dealt))
        order = [free[at] for at in np.random.default_rng([seed, label]).permutation(len(free)).tolist()]
        for name, share in shares.items():  # One image at least for each, as long as one remains for training.
            count = min(max(1, round(share * len(free))), max(len(order) - 1, 0))
            dealt |= dict.fromkeys(order[:count], name)
            order = order[count:]
        dealt |= dict.fromkeys(order, TRAIN)
    return [dealt[content] for content in contents]


def leaked(splits: Sequence[str], contents: Sequence[str]) -> list[int]:
    """Images that are in another split as well, which is measured by them: all of a content but those of one split.

    Those of ``test`` stay, and otherwise those of ``validation``.

    >>> leaked(["train", "test", "test", "train"], ["a", "b", "a", "c"])
    [0]
    """
    strongest: dict[str, int] = {}
    for split, content in zip(splits, contents, strict=True):
        strongest[content] = max(SPLITS.index(split), strongest.get(content, 0))
    found = zip(splits, contents, strict=True)
    return [row for row, (split, content) in enumerate(found) if SPLITS.index(split) < strongest[content]]
