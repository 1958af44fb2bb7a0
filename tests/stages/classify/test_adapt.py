"""Networks of grey images and of other precisions take RGB in float32, with the logits that they have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from stages.classify.network import Network, Preprocess
from stages.classify.sources import load_network
from stages.errors import ConfigurationError
from tests.stages.classify.layouts import Tiny

SIZE = 32
HALVES = Preprocess(SIZE, mean=(0.5,) * 3, std=(0.25,) * 3)


class Grey(Tiny):
    """The small network with one input channel."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1, bias=False)


def photograph() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))


def pixels(image: Image.Image) -> torch.Tensor:
    values = torch.from_numpy(np.array(image)).float() / 255
    return values[None, None] if values.ndim == 2 else values.permute(2, 0, 1)[None]


def test_a_network_of_grey_images_sees_pillows_grey():
    module = Grey().eval()
    before = module.conv1.weight.clone()
    network = Network(module, preprocess=HALVES)
    found = network.module((pixels(photograph()) - 0.5) / 0.25)
    expected = module((pixels(photograph().convert("L")) - 0.5) / 0.25)
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)  # Pillow rounds the grey value to 1 of 256.
    assert torch.equal(module.conv1.weight, before) and module.conv1.in_channels == 1
    assert network.preprocess == HALVES
    assert network.notes == (
        "the network takes grey images: 0.299 red + 0.587 green + 0.114 blue, normalised with mean 0.5 and standard "
        "deviation 0.25",
    )


def test_a_mean_of_each_colour_becomes_that_of_grey():
    preprocess = Network(Grey(), preprocess=Preprocess(SIZE)).preprocess
    assert preprocess.mean == pytest.approx((0.299 * 0.485 + 0.587 * 0.456 + 0.114 * 0.406,) * 3)
    assert preprocess.std == pytest.approx((0.299 * 0.229 + 0.587 * 0.224 + 0.114 * 0.225,) * 3)


def test_a_network_that_makes_its_images_grey_itself_stays():
    class Own(Grey):
        def forward(self, images):
            return super().forward(images.mean(1, keepdim=True))

    module = Own()
    network = Network(module, preprocess=Preprocess(SIZE))
    assert network.module is module and network.notes == () and network.preprocess == Preprocess(SIZE)


def test_a_network_that_does_more_with_one_channel_is_refused():
    class Squared(Grey):
        def forward(self, images):
            return super().forward(images[:, :1] ** 2) if images.shape[1] == 1 else super().forward(images**2)

    with pytest.raises(ConfigurationError, match="takes one channel, but no convolution of the image; let it take RGB"):
        Network(Squared(), preprocess=HALVES)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_precisions_are_computed_in_float32(dtype):
    module = Tiny().to(dtype)
    network = Network(module, preprocess=HALVES)
    name = str(dtype).removeprefix("torch.")
    assert network.notes == (f"the network's {name} parameters are computed in float32",)
    assert {one.dtype for one in network.module.parameters()} == {torch.float32}
    assert {one.dtype for one in module.parameters()} == {dtype}
    images = torch.randn(1, 3, SIZE, SIZE)
    torch.testing.assert_close(network.module(images).to(dtype), module.eval()(images.to(dtype)), atol=0.02, rtol=0.02)


def test_a_network_that_casts_by_itself_stays():
    class Casting(Tiny):
        def forward(self, images):
            return super().forward(images.double())

    module = Casting().double()
    assert Network(module, preprocess=HALVES).module is module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64], ids=str)
def test_a_checkpoint_of_a_grey_network(dtype, tmp_path):
    from torchvision.models import squeezenet1_1

    module = squeezenet1_1(num_classes=3).eval()
    module.features[0] = nn.Conv2d(1, 64, 3, 2)
    torch.save({"model": module.to(dtype).state_dict()}, tmp_path / "grey.pt")
    spec = "file:grey.pt?arch=torchvision:squeezenet1_1&num_classes=3&mean=0.5&std=0.25&size=64"
    network = load_network(spec, tmp_path)
    assert network.preprocess == Preprocess(64, "bilinear", 224 / 256, (0.5,) * 3, (0.25,) * 3)
    assert network.notes[-1].startswith("the network takes grey images")
    images = torch.randn(2, 3, 64, 64)
    grey = (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(network.module(images), module.float()(grey), atol=1e-4, rtol=1e-4)


def test_a_checkpoint_of_four_channels_is_refused(tmp_path):
    from torchvision.models import squeezenet1_1

    module = squeezenet1_1(num_classes=3)
    module.features[0] = nn.Conv2d(4, 64, 3, 2)
    torch.save(module.state_dict(), tmp_path / "four.pt")
    with pytest.raises(
        ConfigurationError, match=r"features\.0\.weight has shape \(64, 4, 3, 3\), the network's \(64, 3"
    ):
        load_network("file:four.pt?arch=torchvision:squeezenet1_1&num_classes=3", tmp_path)
