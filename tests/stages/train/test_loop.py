from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from stages.ingest import digits
from stages.train.loop import train_classifier
from stages.train.networks import GapClassifier


def _zeros_and_ones(split: str) -> tuple[Tensor, Tensor]:
    """The bare digits of two classes: (n, 1, 28, 28) uint8 and their labels."""
    images, labels = digits._digits()
    members = digits.members(split)
    members = members[labels[members] < 2]
    return torch.from_numpy(images[members][:, None]), torch.from_numpy(labels[members]).long()


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _fresh() -> GapClassifier:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(1, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU())
    return GapClassifier(features, nn.Linear(16, 2))


def test_it_learns_unseen_digits_from_labels() -> None:
    module = _fresh()
    losses = train_classifier(module, *_zeros_and_ones("train"), epochs=4, seed=0)
    assert len(losses) == 4 and losses[3] < losses[0] / 3
    images, labels = _zeros_and_ones("eval")
    with torch.no_grad():
        right = module.eval()(images.float() / 255).argmax(1) == labels
    assert len(labels) == 200 and right.float().mean() > 0.95


def test_equal_arguments_give_equal_weights_and_the_seed_matters() -> None:
    images, labels = _zeros_and_ones("eval")

    def trained(seed: int) -> list[Tensor]:
        module = _fresh()
        train_classifier(module, images, labels, epochs=1, seed=seed)
        return list(module.state_dict().values())

    first, second, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_labels_are_all_the_supervision_there_is() -> None:
    taken = list(inspect.signature(train_classifier).parameters)
    assert taken == ["module", "images", "labels", "epochs", "seed", "batch_size", "learning_rate"]
