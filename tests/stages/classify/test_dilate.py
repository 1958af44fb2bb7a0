"""The a trous form against the network itself: the original map is contained, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from stages.classify.architectures.lite import EfficientNetLite
from stages.classify.dilate import dilated
from stages.classify.stage import Classify
from stages.errors import ConfigurationError
from tests.stages.toys import GapLinear, seeded, tiny_network

ALLOWED = {
    # name: (factory, layer, side, cell of the larger map where the original begins)
    "resnet18": (models.resnet18, "layer4", 128, 0),
    "resnext50": (models.resnext50_32x4d, "layer4", 96, 0),
    "wide_resnet50": (models.wide_resnet50_2, "layer4", 64, 0),
    "densenet121": (models.densenet121, "features.norm5", 128, 0),
    "lite0": (EfficientNetLite, "features", 128, 1),
    "googlenet": (lambda: models.googlenet(aux_logits=False, init_weights=False), "inception5b", 128, 0),
}


def maps_of(module, layer, images):
    seen = []
    handle = module.get_submodule(layer).register_forward_hook(lambda _m, _i, output: seen.append(output))
    logits = module(images)
    handle.remove()
    return seen[0], logits


@pytest.mark.parametrize(
    "name", ["resnet18", *(pytest.param(one, marks=pytest.mark.slow) for one in ALLOWED if one != "resnet18")]
)
def test_the_original_map_is_contained(name):
    factory, layer, size, start = ALLOWED[name]
    if name == "densenet121":  # Its ReLU and pooling are functions; the explained output is a module here.
        factory = Dense
        layer = "relu"
    module = seeded(factory).requires_grad_(False)
    larger = dilated(module, layer, size)
    assert {id(one) for one in larger.parameters()} == {id(one) for one in module.parameters()}
    assert not any(part._forward_hooks for one in (module, larger) for part in one.modules())
    images = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    original, _ = maps_of(module.double(), layer, images)
    found, _ = maps_of(larger.double(), layer, images)
    assert min(found.shape[2:]) > 1.5 * original.shape[2]
    torch.testing.assert_close(found[..., start::2, start::2], original, rtol=1e-9, atol=1e-12)


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        network = models.densenet121()
        self.features, self.classifier, self.relu = network.features, network.classifier, nn.ReLU()

    def forward(self, x):
        return self.classifier(self.relu(self.features(x)).mean((2, 3)))


class Pooled(GapLinear):
    """Behind the last stride a padded pool over values below zero, as GoogLeNet's branches have one."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.MaxPool2d(3, 1, 1, ceil_mode=True))

    def forward(self, x):
        return self.fc(self.last(self.features[:2](x)).mean((2, 3)))


def test_a_padded_pool_is_spread():
    module = seeded(Pooled).requires_grad_(False)
    larger = dilated(module, "last", 32)
    assert isinstance(module.last[1], nn.MaxPool2d)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    (original, _), (found, _) = (maps_of(one, "last", images) for one in (module, larger))
    assert found.shape[2:] == (16, 16) and original.min() < 0
    torch.testing.assert_close(found[..., ::2, ::2], original)


@pytest.mark.slow
def test_it_is_torchvisions_own_form():
    """The same weights in the network that torchvision builds with a dilation instead of the last stride."""
    module = seeded(lambda: models.resnet50(num_classes=5)).requires_grad_(False)
    larger = dilated(module, "layer4", 64).double()
    theirs = models.resnet50(num_classes=5, replace_stride_with_dilation=[False, False, True]).eval()
    theirs.load_state_dict(module.state_dict())
    theirs.double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for found, expected in zip(maps_of(larger, "layer4", images), maps_of(theirs, "layer4", images), strict=True):
        torch.testing.assert_close(found, expected)


class Gated(GapLinear):
    """Squeeze and excitation behind the last stride: the gate sees the mean of all cells, the new ones, too."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Sequential(nn.Conv2d(12, 12, 3, 1, 1), nn.ReLU())

    def forward(self, x):
        x = self.features[:3](x)
        return self.fc(self.last((5 * x.mean((2, 3), keepdim=True)).sigmoid() * x).mean((2, 3)))


@pytest.mark.parametrize(
    ("factory", "layer", "size", "message"),
    [
        (Gated, "last", 32, "last has no a trous form"),
        pytest.param(models.vgg11, "features.19", 64, "does not end in GAP", marks=pytest.mark.slow),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "0", 32, "no a trous"),
    ],
)
def test_a_network_without_one_is_refused_in_one_line(factory, layer, size, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        dilated(seeded(factory).requires_grad_(False), layer, size)
    assert caught.value.about == "dilate" and "\n" not in str(caught.value)


def test_a_run_classifies_alike_with_it_and_without():
    spec, weights = "python:tests.stages.toys:tiny_network", tiny_network().weights_sha256
    pixels = np.random.default_rng(3).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    plain, larger = (Classify(spec, weights, "last", 32, dilate=dilate) for dilate in (False, True))
    for stage in (plain, larger):
        stage.setup()
    one, other = (stage({"image_id": np.arange(3), "image": pixels}) for stage in (plain, larger))
    assert all(np.array_equal(one.rows[name], other.rows[name]) for name in ("probs", "top_class"))
    maps, more = (answer.context["trace"].activations for answer in (one, other))
    assert maps.shape[2:] == (8, 8) and more.shape[2:] == (16, 16)
    torch.testing.assert_close(more[..., ::2, ::2], maps)
    assert other.context["trace"].head is not None
