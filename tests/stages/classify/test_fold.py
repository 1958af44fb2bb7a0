"""Folding changes how a network is computed, never what it says."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from stages.classify.fold import folded
from stages.classify.stage import Classify
from stages.trace.cut import CutNetwork

SIZE = 32


def trained(module: nn.Module) -> nn.Module:
    """As after training: statistics that are not 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values, low in (
                (part.running_mean, -1.0),
                (part.running_var, 0.5),
                (part.weight, 0.5),
                (part.bias, -1),
            ):
                values.data.copy_(torch.rand(values.shape, generator=generator) + low)
    return module.double().eval().requires_grad_(False)


class Block(nn.Module):
    """Two convolutions, each with its normalisation; ``beside`` reads the first one's output, too."""

    def __init__(self, beside: bool = False, bias: bool = False) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, bias=bias), nn.BatchNorm2d(4)
        self.second, self.other_norm = nn.Conv2d(4, 5, 3, bias=False), nn.BatchNorm2d(5)
        self.beside = beside

    def forward(self, x: Tensor) -> Tensor:
        seen = self.first(x)
        out = self.norm(seen) + seen if self.beside else self.norm(seen)
        return self.other_norm(self.second(out.relu())).mean((2, 3))


def norms(module: nn.Module) -> list[str]:
    return [name for name, part in module.named_modules() if isinstance(part, nn.BatchNorm2d)]


def test_all_norms_go_and_the_logits_stay() -> None:
    module = trained(Block())
    before = copy.deepcopy(module.state_dict())
    found = folded(module, [], SIZE)
    assert norms(found) == [] and norms(module) == ["norm", "other_norm"]
    assert all(torch.equal(before[name], values) for name, values in module.state_dict().items())
    images = torch.randn(2, 3, SIZE, SIZE, dtype=torch.float64)
    torch.testing.assert_close(found(images), module(images), rtol=1e-12, atol=1e-12)
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_an_explained_convolution_keeps_its_output() -> None:
    assert norms(folded(trained(Block()), ["first"], SIZE)) == ["norm"]
    assert norms(folded(trained(Block()), ["norm"], SIZE)) == []


def test_a_container_that_ends_in_the_convolution_keeps_its_output() -> None:
    module = trained(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False)), nn.BatchNorm2d(4)))
    module.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten())
    assert norms(folded(module, ["0"], SIZE)) == ["1"] and norms(folded(module, [], SIZE)) == []


def test_a_convolution_with_a_bias_of_its_own_keeps_its_norm() -> None:
    assert norms(folded(trained(Block(bias=True)), [], SIZE)) == ["norm"]


def test_what_is_read_in_between_is_left_alone() -> None:
    assert norms(folded(trained(Block(beside=True)), [], SIZE)) == ["norm"]


def test_a_shared_convolution_is_left_alone() -> None:
    shared = nn.Conv2d(3, 3, 3, bias=False)
    module = trained(nn.Sequential(shared, nn.BatchNorm2d(3), shared, nn.BatchNorm2d(3), nn.Flatten()))
    assert folded(module, [], SIZE) is module


class Clamped(Block):
    """What noise never wakes: the clamp works in place, behind the convolution's back."""

    def forward(self, x: Tensor) -> Tensor:
        seen = self.first(x)
        seen.clamp_(-1000, 1000)
        return self.norm(seen).mean((2, 3))


class Gated(Block):
    """The second reader is silent until the first convolution is loud."""

    def forward(self, x: Tensor) -> Tensor:
        seen = self.first(x)
        return (self.norm(seen) + (seen - 1000).relu()).mean((2, 3))


class Keeping(Block):
    """Reads what its own hook has kept, which a copy's hook would keep elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Tensor] = {}
        self.first.register_forward_hook(lambda part, inputs, output: self.kept.update(out=output))

    def forward(self, x: Tensor) -> Tensor:
        self.norm(self.first(x))
        return self.kept["out"].mean((2, 3))


class Odd(nn.Conv2d):
    """A convolution that does more than convolve."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).clamp(-1000, 1000)


class Subclassed(Block):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Odd(3, 4, 3, bias=False), Odd(4, 5, 3, bias=False)


class Locked(Block):
    """Holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class ByKeyword(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(input=self.first(x)).mean((2, 3))


class Asking(Block):
    """Asks its normalisation for more than a call."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / self.norm.num_features


def reweighted(parametrise: Callable[[nn.Module], object]) -> Block:
    block = Block()
    parametrise(block.first)
    parametrise(block.second)
    return block


@pytest.mark.parametrize(
    "make",
    [
        Clamped,
        Gated,
        Keeping,
        Subclassed,
        Locked,
        ByKeyword,
        Asking,
        lambda: reweighted(nn.utils.parametrizations.weight_norm),
        lambda: reweighted(nn.utils.parametrizations.spectral_norm),
    ],
)
def test_networks_that_cannot_be_folded_stay_as_they_are(make: Callable[[], nn.Module]) -> None:
    module = trained(make())
    assert norms(folded(module, [], SIZE)) == ["norm", "other_norm"]


def test_a_network_that_was_explained_before_stays_as_it_is() -> None:
    """A factory may give the same module each time; it has the hook of the run's trial by then."""
    module = trained(Block()).float()
    CutNetwork(module, ["second"], SIZE)
    assert folded(module, ["second"], SIZE) is module


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("mobilenet_v2", "googlenet", "densenet121")),
        "shufflenet_v2_x0_5",
    ],
)
def test_known_networks(name: str) -> None:
    settings = {"init_weights": True, "aux_logits": False} if name == "googlenet" else {}
    module = trained(models.get_model(name, **settings))
    found = folded(module, [], 64)
    # DenseNets normalise what is concatenated, which no single convolution gave.
    assert (len(norms(found)) < len(norms(module))) if name == "densenet121" else norms(found) == []
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(found(images), module(images), rtol=1e-9, atol=1e-9)


def test_runs_fold() -> None:
    from stages.classify.sources import load_network

    stage = Classify("lite0", load_network("lite0").weights_sha256, "last", 224)
    stage.setup()
    assert norms(stage.network.module) == []
