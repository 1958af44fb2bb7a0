"""What follows the explained layer, on small members of each family with all their parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import DenseNet, SwinTransformer, VisionTransformer

from stages.classify.architectures.densenet import adapted
from stages.classify.architectures.nin import NetworkInNetwork
from stages.classify.network import Network
from stages.errors import ConfigurationError
from stages.explain.registry import get_explainer, single_pass
from stages.trace.cut import CutNetwork
from stages.trace.layout import from_maps, to_maps
from stages.trace.probe import check_repeatable, gap_linear_head, last_spatial_layer
from tests.stages.toys import GapLinear, seeded

TARGET = torch.tensor([1, 2])


def densenet() -> nn.Module:
    return DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, num_classes=5)


def vit() -> nn.Module:
    module = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)
    nn.init.normal_(module.heads.head.weight)  # zero as built
    return module


def swin() -> nn.Module:
    return SwinTransformer([4, 4], 8, [2, 2], [2, 4], [4, 4], num_classes=5)


def timm_vit(**options: object) -> nn.Module:
    timm = pytest.importorskip("timm")
    size = {"img_size": 32, "patch_size": 8, "depth": 2, "num_heads": 2, "embed_dim": 16, "num_classes": 5}
    return timm.models.vision_transformer.VisionTransformer(**size | options)


def averaging_vit() -> nn.Module:
    return timm_vit(class_token=False, global_pool="avg")


def register_vit() -> nn.Module:
    return timm_vit(reg_tokens=3)


def timm_swin() -> nn.Module:
    timm = pytest.importorskip("timm")
    return timm.models.swin_transformer.SwinTransformer(
        img_size=32, patch_size=4, embed_dim=8, depths=(2, 2), num_heads=(2, 4), window_size=4, num_classes=5
    )


def nin() -> nn.Module:
    return NetworkInNetwork(5)


ATTENTION = {"cam", "positive-cam", "liftcam", "fullgrad"}
# Network to its layer, its grid, whether its head has a closed form, and the methods that refuse it.
FAMILIES = {
    densenet: ("features", 4, True, set()),
    nin: ("features", 3, True, set()),
    swin: ("permute", 4, True, {"fullgrad"}),
    timm_swin: ("norm", 4, True, {"fullgrad"}),
    vit: ("encoder.layers.encoder_layer_1.ln_1", 4, False, ATTENTION),
    timm_vit: ("blocks.1.norm1", 4, False, ATTENTION),
    register_vit: ("blocks.1.norm1", 4, False, ATTENTION),
    averaging_vit: ("blocks.1.norm1", 4, False, ATTENTION),
}


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda factory: factory.__name__)
def cut(request):
    layer, grid, closed, refused = FAMILIES[request.param]
    size = 128 if request.param is nin else 32
    network = Network(seeded(request.param))
    assert last_spatial_layer(network.module, size) == layer
    made = CutNetwork(network.module, [layer], size)
    assert (made.head is not None) == closed
    made.images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2))
    made.grid, made.refused = (grid, grid), refused
    return made


def test_closed_forms_are_autograds(cut):
    trace = cut.trace(cut.images)
    torch.testing.assert_close(trace.logits, cut.logits(cut.images))
    torch.testing.assert_close(trace.gradients(TARGET), trace.gradients_of(trace.score(TARGET)))
    assert trace.gradients(TARGET).any()


def test_the_head_decides_about_every_image_as_in_the_whole_pass(cut):
    trace = cut.trace(cut.images)
    for image in range(2):
        logits = trace.decide(image, trace.activations[[image, image]].detach())
        torch.testing.assert_close(logits, trace.logits[[image, image]].detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_every_method_runs_or_refuses_in_one_line(cut):
    refused = set()
    for name in single_pass():
        try:
            method = get_explainer(name, cut.head is not None)
            if method.check:
                method.check(cut.trace(cut.images))
            maps = method.function(cut.trace(cut.images), TARGET).detach()
        except ConfigurationError as error:
            assert "\n" not in str(error) and name in str(error)
            refused.add(name)
            continue
        assert maps.isfinite().all(), name
        # These two have grids of their own.
        assert tuple(maps.shape[1:]) == cut.grid or "augmented" in name or name == "fullgrad", name
    assert refused == cut.refused


def test_the_map_of_class_maps_is_the_class():
    module = seeded(nin).requires_grad_(False)
    cut = CutNetwork(module, ["features"], 96)
    trace = cut.trace(torch.randn(2, 3, 96, 96))
    found = get_explainer("cam", True).function(trace, TARGET)
    torch.testing.assert_close(found, trace.activations[torch.arange(2), TARGET])


def test_densenet_computes_what_it_did():
    before, after = seeded(densenet), adapted(seeded(densenet))
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(before(images), after(images))
    assert before.state_dict().keys() == after.state_dict().keys()
    assert adapted(after) is after
    # Without the ReLU's module the map has values that the head never sees.
    assert gap_linear_head(before, before.features, 32) is None


@pytest.mark.parametrize("shape", [(2, 5, 4, 4), (2, 4, 4, 5), (2, 16, 5), (2, 17, 5), (2, 19, 5)])
def test_layouts_come_back(shape):
    output = torch.randn(shape)
    maps = to_maps(output)
    assert maps.shape == (2, 5, 4, 4)
    assert torch.equal(from_maps(maps, output), output)
    assert from_maps(maps[:1].expand(3, -1, -1, -1), output[:1]).shape == (3, *shape[1:])
    if len(shape) == 3:  # patches stand row by row, last
        assert torch.equal(maps[:, :, 1, 2], output[:, shape[1] - 16 + 4 * 1 + 2])


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 1, 1), (2, 24, 5), (2, 3, 5)])
def test_no_extent_is_no_map(shape):
    assert to_maps(torch.randn(shape)) is None


class Mistaken(GapLinear):
    """Networks that cannot be explained, by what is wrong with them."""

    def __init__(self, mistake: str) -> None:
        super().__init__()
        self.mistake, self.pool, self.unused = mistake, nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 3, 1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.features(self.relu(x)))
        if self.mistake == "dropout":
            x = F.dropout(x, 0.5, training=True)
        return self.fc(self.pool(x).flatten(1))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("pool", r"'pool' has shape \(2, 12, 1, 1\), not \(N, K, h, w\)"),
        ("fc", r"'fc' has shape \(2, 7\)"),
        ("unused", "never runs 'unused'"),
        ("relu", "'relu' runs more than once"),
    ],
)
def test_layers_that_cannot_be_explained(layer, message):
    module = seeded(lambda: Mistaken("")).requires_grad_(False)
    with pytest.raises(ConfigurationError, match=message):
        CutNetwork(module, [layer], 32).trace(torch.randn(2, 3, 32, 32))


def test_randomness_in_eval_mode_is_found():
    check_repeatable(seeded(lambda: Mistaken("")).train(), 32)
    with pytest.raises(ConfigurationError, match="two passes over the same image differ"):
        check_repeatable(seeded(lambda: Mistaken("dropout")), 32)


@pytest.mark.parametrize("wrong", [-1, 7])
def test_classes_out_of_range(wrong):
    module = seeded(GapLinear).requires_grad_(False)
    trace = CutNetwork(module, ["features"], 32).trace(torch.randn(2, 3, 32, 32))
    for ask in (trace.weights, trace.score, trace.gradients):
        with pytest.raises(ConfigurationError, match=f"class {wrong} cannot .* classes 0 to 6"):
            ask(torch.tensor([0, wrong]))
