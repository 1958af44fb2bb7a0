"""Logits of an image behind masks, by whichever way, beside the network asked about each masked image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision import models

from stages.classify.fold import folded
from stages.classify.parts import parts
from stages.classify.stem import Stem
from stages.explain import through
from stages.explain.masks import stretched
from stages.explain.through import logits_through
from stages.trace.cut import CutNetwork
from tests.stages.toys import GapLinear, seeded

MASKS = 21  # no multiple of what a part takes at a time


class Branching(GapLinear):
    """What runs depends on the images, so there is no graph."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.abs().sum() > 0 else -x)


def network(name: str) -> CutNetwork:
    if name == "branching":
        module, layer = seeded(Branching).double(), "features"
    else:
        layer = {"resnet18": "layer4", "mobilenet_v2": "features", "shufflenet_v2_x0_5": "conv5"}[name]
        module = folded(seeded(lambda: models.get_model(name)).double(), [layer], 128)
    made = CutNetwork(module.requires_grad_(False), module.get_submodule(layer), layer, 128)
    made.parts = parts(module, 128)
    return made


@pytest.mark.parametrize(
    ("name", "size", "stem"),
    [
        ("resnet18", 128, True),
        ("resnet18", 160, True),  # not the size whose parts are known
        ("shufflenet_v2_x0_5", 128, True),  # of 3 x 3, which is convolved
        ("mobilenet_v2", 128, False),
        ("branching", 128, None),
    ],
)
def test_are_the_networks_own(name, size, stem):
    cut = network(name)
    assert (None if cut.parts is None else isinstance(cut.parts.stem, Stem)) == stem
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 3, size, size, generator=generator).double()
    maps = torch.randn(MASKS, size // 32, size // 32, generator=generator).double().relu()
    expected = torch.cat([cut.logits(image * stretched(one[None], (size, size))[0]) for one in maps])
    found = logits_through(cut, image, maps)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))
    assert expected.std(0).max() > 1e-6 * expected.abs().max(), "masks that all look alike test nothing"


def test_parts_take_as_many_as_the_memory_is_meant_for(monkeypatch):
    cut = network("resnet18")
    seen: dict[str, list[int]] = {"early": [], "late": []}
    for name, part in (("early", cut.parts.early), ("late", cut.parts.late)):
        forward = part.forward
        monkeypatch.setattr(part, "forward", lambda x, n=name, f=forward: (seen[n].append(len(x)), f(x))[1])
    logits_through(cut, torch.randn(1, 3, 128, 128).double(), torch.rand(MASKS, 4, 4).double())
    assert seen == {"early": [6, 6, 6, 3], "late": [12, 9]}
    assert (through.EARLY, through.LATE) == (6, 12)
