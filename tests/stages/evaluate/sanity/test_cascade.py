"""The cut of a network into groups of parameters, and what shuffling does to it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stages.evaluate.sanity import cascade
from stages.evaluate.sanity.cascade import parameter_groups, restored, shuffle
from tests.stages.toys import FlattenHead, GapLinear, seeded


@pytest.mark.parametrize(
    ("factory", "names"),
    [
        (GapLinear, ["fc", "features.2", "features.0"]),
        (FlattenHead, ["classifier.3", "classifier.0", "features.1", "features.0"]),
    ],
)
def test_from_the_logits_to_the_input(factory, names):
    module = seeded(factory)
    groups = parameter_groups(module, 32)
    assert [name for name, _ in groups] == names
    found = [id(parameter) for _, parameters in groups for parameter in parameters]
    assert sorted(found) == sorted(id(parameter) for parameter in module.parameters())


def test_deep_networks_are_cut_at_their_blocks(monkeypatch):
    monkeypatch.setattr(cascade, "MOST", 3)
    assert [name for name, _ in parameter_groups(seeded(FlattenHead), 32)] == ["classifier", "features"]


def test_what_a_pass_does_not_use_or_uses_twice():
    module = seeded(GapLinear)
    module.unused = nn.Linear(3, 3)
    module.features[2].bias = module.features[0].bias = nn.Parameter(torch.zeros(8))
    module.features[2].weight = nn.Parameter(torch.randn(8, 8, 3, 3))
    module.fc = nn.Linear(8, 7)
    groups = dict(parameter_groups(module, 32))
    assert list(groups) == ["fc", "features.2", "features.0"]
    assert [len(parameters) for parameters in groups.values()] == [2, 2, 1]


def test_shuffled_parameters_keep_their_values_in_another_order():
    before, again = seeded(GapLinear), seeded(GapLinear)
    module = seeded(GapLinear).to(memory_format=torch.channels_last)
    for one in (module, again):
        shuffle(one.parameters(), torch.Generator().manual_seed(4))
    for parameter, original, same in zip(module.parameters(), before.parameters(), again.parameters(), strict=True):
        assert torch.equal(parameter.flatten().sort().values, original.flatten().sort().values)
        assert not torch.equal(parameter, original) and torch.equal(parameter, same)


def test_parameters_come_back_even_after_an_error():
    module, original = seeded(FlattenHead), seeded(FlattenHead)
    with pytest.raises(RuntimeError, match="on the way"), restored(module):
        shuffle(module.parameters(), torch.Generator().manual_seed(0))
        raise RuntimeError("on the way")
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), original.parameters(), strict=True))
