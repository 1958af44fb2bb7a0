"""Quantized networks: the simulated one computes what the integers do, and every kind of method explains it."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from pipeline.config.recipe import resolve
from pipeline.engine.prepare import load_checked
from stages.classify.network import Network, Preprocess
from stages.classify.outputs import with_logits
from stages.classify.quantized import NOTE, simulated
from stages.errors import ConfigurationError
from stages.explain.registry import get_explainer
from stages.trace.cut import CutNetwork
from tests.stages.toys import CLASSES, GapLinear, seeded

SIZE = 32


class Prepared(GapLinear):
    """Eager quantization: stubs, a shortcut by a module, and a normalisation of its own."""

    def __init__(self) -> None:
        super().__init__()
        from torch.ao.nn.quantized import FloatFunctional
        from torch.ao.quantization import DeQuantStub, QuantStub

        self.quant, self.dequant, self.join = QuantStub(), DeQuantStub(), FloatFunctional()
        self.norm = nn.BatchNorm2d(12)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(self.quant(x))
        maps = self.join.mul_scalar(self.join.add(maps, self.norm(maps)), 0.5)
        return self.dequant(self.fc(maps.mean((2, 3)))).softmax(1)


class Joined(GapLinear):
    """Operations on integers in the recorded graph."""

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(x)
        maps = torch.relu(torch.cat([maps + maps * 2, maps], 1) + 1)
        return self.fc(maps[:, :12].mean((2, 3)))


def images() -> Tensor:
    return torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


def dynamic() -> nn.Module:
    from torch.ao.quantization import quantize_dynamic

    return quantize_dynamic(seeded(GapLinear), {nn.Linear}, dtype=torch.qint8)


def eager() -> nn.Module:
    from torch.ao.quantization import convert, fuse_modules, get_default_qconfig, prepare

    module = seeded(Prepared)
    module.qconfig = get_default_qconfig("x86")
    fuse_modules(module.features, [["0", "1"]], inplace=True)
    prepared = prepare(module)
    prepared(images())
    return convert(prepared)


def recorded() -> nn.Module:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    prepared = prepare_fx(seeded(Joined), get_default_qconfig_mapping("x86"), (images(),))
    prepared(images())
    return convert_fx(prepared)


@pytest.fixture(autouse=True)
def without_warnings():
    """torch announces that its quantization moves to another package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("make", [dynamic, eager, pytest.param(recorded, marks=pytest.mark.slow)])
def test_simulated_integers_give_the_logits_of_integers(make):
    """Within a step or two; the float network itself is farther away from them than that allows for weights."""
    quantized = make()
    with torch.no_grad():
        expected = quantized(images())
    network = Network(quantized, preprocess=Preprocess(size=SIZE))
    assert network.notes == (NOTE,) and len(network.weights_sha256) == 64
    found = network.module(images())
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (dynamic, "features"),
        (eager, "features.2"),
        pytest.param(recorded, "features.2", marks=pytest.mark.slow),  # torch's recording takes seconds to import
    ],
)
def test_gradients_and_masks_explain_a_quantized_network(make, layer):
    network = with_logits(Network(make(), preprocess=Preprocess(size=SIZE)), SIZE)
    trace = CutNetwork(network.module, [layer], SIZE, outputs=network.outputs).trace(images())
    target = trace.logits.argmax(1).detach()
    for name in ("gradcam", "layercam", "ablationcam", "reciprocam", "eigencam"):
        found = get_explainer(name, trace.head is not None).function(trace, target)
        assert found.shape == (4, 8, 8) and found.isfinite().all() and found.abs().max() > 0, name


def test_a_quantized_linear_layer_has_the_closed_form():
    quantized = dynamic()
    network = with_logits(Network(quantized, preprocess=Preprocess(size=SIZE)), SIZE)
    head = CutNetwork(network.module, ["features"], SIZE).head
    assert torch.equal(head.weight, quantized.fc.weight().dequantize())
    assert not torch.equal(head.weight, seeded(GapLinear).fc.weight)


def test_what_is_not_quantized_stays_the_same_object():
    from torch.ao.nn.quantized import FloatFunctional

    module = nn.Sequential(nn.Conv2d(3, 3, 1), FloatFunctional())
    assert simulated(module) is module, "FloatFunctional stands for + in a float network"


def test_an_unknown_quantized_layer_is_refused():
    from torch.ao.nn.quantized import ConvTranspose2d

    with pytest.raises(ConfigurationError, match=r"ConvTranspose2d .* explain the float network"):
        Network(nn.Sequential(ConvTranspose2d(3, 3, 1)))


def test_a_quantized_network_is_prepared_for_a_run(tiny):
    spec = "python:tests.stages.classify.test_quantized:eager"
    found = load_checked(resolve(tiny(f"model.spec={spec}", "model.size=32", "explain.methods=[gradcam,scorecam]")))
    assert found[2] == CLASSES and [note[:11] for note in found[0].notes] == ["the network"] * 2
