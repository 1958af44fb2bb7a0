"""Networks by name, from files, from functions, and what can go wrong with them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.classes import imagenet_classes
from stages.classify import lite0
from stages.classify.probe import last_spatial_layer
from stages.classify.sources import load_network
from stages.errors import ConfigurationError, WeightsUnavailableError
from tests.stages.toys import FlattenHead, GapLinear, seeded


def test_imagenet_classes_are_sorted_and_unique():
    classes = imagenet_classes()
    wnids = [info.wnid for info in classes]
    assert len(classes) == 1000 and wnids == sorted(set(wnids))
    assert len({info.name for info in classes}) == 1000
    assert classes[285].name == "Egyptian cat" and classes[285].wnid == "n02124075"


def test_lite0_recognises_a_photograph():
    skimage = pytest.importorskip("skimage")
    network = load_network("lite0")
    photo = Image.open(Path(skimage.__file__).parent / "data" / "chelsea.png").convert("RGB").resize((224, 224), 3)
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        best = network.module((pixels - 0.498) / 0.502).softmax(1)[0].topk(3).indices.tolist()
    assert "Egyptian cat" in [network.classes[index].name for index in best]
    assert not any(parameter.requires_grad for parameter in network.module.parameters())
    assert len(network.weights_sha256) == 64


@pytest.mark.parametrize("side", [9, 12, 13])
@pytest.mark.parametrize("kernel", [3, 5])
def test_same_padding_is_tensorflows(side, kernel):
    """ceil(side / 2) outputs; the padding that is left over after an even split goes behind."""
    conv = lite0.SameConv2d(1, 1, kernel, 2, bias=False)
    x = torch.randn(1, 1, side, side)
    out = -(-side // 2)
    total = max((out - 1) * 2 + kernel - side, 0)
    padded = np.pad(x[0, 0].numpy(), ((total // 2, total - total // 2),) * 2)
    expected = [
        [
            (padded[2 * i : 2 * i + kernel, 2 * j : 2 * j + kernel] * conv.weight[0, 0].detach().numpy()).sum()
            for j in range(out)
        ]
        for i in range(out)
    ]
    np.testing.assert_allclose(conv(x)[0, 0].detach().numpy(), expected, atol=1e-5)


def test_the_explained_layer_is_the_last_map_before_pooling():
    assert last_spatial_layer(seeded(GapLinear), 32) == "features"
    assert last_spatial_layer(seeded(FlattenHead), 32) == "features.2"
    from torchvision.models import resnet18, squeezenet1_1

    assert last_spatial_layer(resnet18(), 64) == "layer4"
    assert last_spatial_layer(squeezenet1_1(), 64) == "classifier.2"
    with pytest.raises(ConfigurationError, match="no layer of the network gives a map"):
        last_spatial_layer(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2)), 8)


def test_tokens_without_attention_are_no_map():
    timm = pytest.importorskip("timm")
    mixer = timm.models.mlp_mixer.MlpMixer(num_classes=5, patch_size=32, num_blocks=1, embed_dim=16)
    with pytest.raises(ConfigurationError, match="works on tokens"):
        last_spatial_layer(mixer, 224)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    from torchvision.models import squeezenet1_1

    folder = tmp_path_factory.mktemp("weights")
    module = squeezenet1_1(num_classes=3).eval()
    torch.save({"state_dict": {f"module.{key}": value for key, value in module.state_dict().items()}}, folder / "a.pt")
    from safetensors.torch import save_file

    save_file(module.state_dict(), folder / "a.safetensors")
    (folder / "names.txt").write_text("ant\nbee\nwasp\n", encoding="utf-8")
    return folder, module


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_own_checkpoints(checkpoints, name):
    folder, module = checkpoints
    network = load_network(f"file:{folder / name}?arch=torchvision:squeezenet1_1&classes={folder / 'names.txt'}")
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(network.module(x), module(x))
    assert [info.name for info in network.classes] == ["ant", "bee", "wasp"]


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("resnet50", ConfigurationError, "unknown source"),
        ("torchvision:resnet5@X", ConfigurationError, r"did you mean resnet50\?"),
        ("torchvision:resnet50", ConfigurationError, "torchvision:resnet50@IMAGENET1K_V1"),
        ("timm:resnet5O", ConfigurationError, "did you mean resnet50"),
        ("file:{folder}/a.pt", ConfigurationError, "found no arch"),
        ("file:{folder}/none.pt?arch=torchvision:squeezenet1_1", WeightsUnavailableError, r"no weights at .*none\.pt"),
        ("file:{folder}/names.txt?arch=torchvision:squeezenet1_1", ConfigurationError, "no readable checkpoint"),
        (
            "file:{folder}/a.pt?arch=torchvision:squeezenet1_1&num_classes=5",
            ConfigurationError,
            r"has shape \(3, 512, 1, 1\), the network's \(5, 512, 1, 1\)",
        ),
        ("file:{folder}/a.pt?arch=torchvision:resnet18&num_classes=3", ConfigurationError, r"lacks \d+ tensors"),
        ("file:{folder}/a.pt?arch=torchvision:squeezenet1_1&num_classes=many", ConfigurationError, "num_classes"),
        ("python:tests.stages.nowhere:net", ConfigurationError, "No module named"),
        ("python:tests.stages.toys:CLASSES", ConfigurationError, "CLASSES is no function"),
    ],
)
def test_mistakes_in_one_line(checkpoints, spec, error, message):
    with pytest.raises(error, match=message) as caught:
        load_network(spec.format(folder=checkpoints[0]))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"weight": Evil()}, protocol=2))
    with pytest.raises(ConfigurationError, match="no readable checkpoint"):
        load_network(f"file:{tmp_path / 'evil.pt'}?arch=torchvision:squeezenet1_1")
    assert not (tmp_path / "ran").exists()
