from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from stages.classify.architectures.head_shape import HeadShape
from stages.classify.architectures.headed import make_head
from stages.errors import ConfigurationError
from stages.train.head import Examples, Settings, State, measure, outputs_of, seed_of, train_head
from stages.train.tasks.classify import Classify

TASK = Classify(exclusive=True)
SHAPE = HeadShape(inputs=6, side=4, classes=3, channels=8, kernel=3)


def settings(**changes: object) -> Settings:
    given = {"epochs": 6, "patience": 6, "batch_size": 16, "learning_rate": 0.02, "weight_decay": 0.0, "seed": 4}
    return Settings(**{**given, **changes})  # type: ignore[arg-type]


def examples(count: int, seed: int) -> Examples:
    """Maps on which channel c is higher where class c is."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    features = torch.rand(count, 6, 4, 4, generator=generator)
    features[torch.arange(count), labels, 1:3, 1:3] += 2.0
    return Examples(features, {"classes": nn.functional.one_hot(labels, 3).float()})


TRAINED, OTHERS = examples(90, 0), examples(40, 1)


def head_of(name: str) -> nn.Module:
    torch.manual_seed(7)
    return make_head(name, SHAPE)


@pytest.mark.parametrize(
    ("name", "exclusive"),
    [("gap", True), ("gap", False), ("conv-gap", True), ("conv-gmp", True), ("fc", True), ("fc-dropout", True)],
)
def test_every_head_learns(name, exclusive):
    head = head_of(name)
    before = measure(head, Classify(exclusive), OTHERS)
    longer = settings(epochs=30, patience=30, learning_rate=0.05)
    *_, last = train_head(head, Classify(exclusive), TRAINED, OTHERS, longer)
    head.load_state_dict(last.head)
    after = measure(head, Classify(exclusive), OTHERS)
    assert after["loss"] < before["loss"] and after["accuracy"] >= 0.85
    assert after["accuracy"] == pytest.approx(last.value(last.epoch, "validation", "accuracy"))


@pytest.mark.parametrize("name", ["conv-gap", "fc-dropout"])
def test_an_interruption_after_any_epoch_changes_no_bit(name):
    whole = list(train_head(head_of(name), TASK, TRAINED, OTHERS, settings()))
    for at in range(len(whole) - 1):
        origin, state = State.of_bytes(whole[at].to_bytes("this one"))
        torch.manual_seed(99)  # A new process is at another place of the generator.
        resumed = list(train_head(head_of(name), TASK, TRAINED, OTHERS, settings(), state))
        assert origin == "this one" and [one.epoch for one in resumed] == list(range(at + 2, 7))
        for tensor, other in zip(resumed[-1].head.values(), whole[-1].head.values(), strict=True):
            assert torch.equal(tensor, other)
        assert [one[:4] for one in resumed[-1].curves] == [one[:4] for one in whole[-1].curves]


def test_it_ends_when_the_validation_loss_no_longer_falls():
    turned = Examples(
        OTHERS.features, {"classes": OTHERS.targets["classes"].roll(1, 1)}
    )  # What is learnt is wrong there.
    *_, last = train_head(head_of("gap"), TASK, TRAINED, turned, settings(epochs=40, patience=3))
    assert (last.epoch, last.best) == (4, 1)


def test_a_loss_that_is_not_finite_ends_it_and_names_the_step():
    broken = Examples(TRAINED.features.clone(), TRAINED.targets)
    broken.features[17] = math.inf
    with pytest.raises(ConfigurationError, match=r"not finite in epoch 1, step \d") as caught:
        list(train_head(head_of("gap"), TASK, broken, OTHERS, settings()))
    assert caught.value.about == "learning_rate"


def test_any_damage_of_a_checkpoint_is_a_value_error():
    data = State(1, head_of("gap").state_dict(), {}).to_bytes("this one")
    assert State.of_bytes(data)[0] == "this one"
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    for damaged in (b"", b"PK", data[:-1], data + b"\0", bytes(flipped)):
        with pytest.raises(ValueError):
            State.of_bytes(damaged)


def test_every_epoch_has_a_seed_of_its_own_whatever_the_first():
    seeds = {seed_of(seed, epoch) for seed in (0, 1, 10**20) for epoch in range(50)}
    assert len(seeds) == 150 and all(0 <= one < 2**63 for one in seeds)


def test_it_is_measured_without_dropout():
    head = head_of("fc-dropout").train()
    one, other = (outputs_of(head, TASK, TRAINED.features)["logits"] for _ in range(2))
    assert torch.equal(one, other)
