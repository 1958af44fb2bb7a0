from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from pipeline.config.training import TrunkConfig
from stages.classes import ClassInfo
from stages.classify.architectures.head_shape import HeadShape
from stages.classify.architectures.headed import HEADS, trunk_of
from stages.classify.network import Preprocess
from stages.classify.sources import load_network
from stages.classify.sources.described import Description, description_of, to_bytes
from stages.classify.sources.untrained import untrained
from stages.errors import ConfigurationError
from stages.trace.probe import gap_linear_head

SIDE = 64
DESCRIPTION = Description(
    arch="torchvision:resnet18",
    layer="layer4",
    head="gap",
    boxed=False,
    shape=HeadShape(inputs=512, side=2, classes=3, channels=4, kernel=3),
    classes=(ClassInfo("cat"), ClassInfo("dog", "n02084071"), ClassInfo("Zebra é")),
    outputs="sigmoid",
    preprocess=Preprocess(SIDE, "bicubic", 0.9, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)),
    fit="squash",
    trained_on={"images": {"train": 12}},
)


PIXELS = {"size": SIDE, "resample": "bicubic", "crop_ratio": 0.9, "mean": [0.5] * 3, "std": [0.2] * 3}


@pytest.fixture(scope="module")
def trunk():
    torch.manual_seed(0)
    return trunk_of(untrained("torchvision:resnet18", 10)[0].eval(), "layer4")


def written(path: Path, description: Description, trunk: torch.nn.Module) -> torch.nn.Module:
    module = description.network(trunk).eval()
    path.write_bytes(to_bytes(description, module))
    return module


@pytest.mark.parametrize("head", ["gap", *(pytest.param(name, marks=pytest.mark.slow) for name in list(HEADS)[1:])])
def test_the_file_alone_is_the_network(tmp_path, trunk, head):
    given = replace(DESCRIPTION, head=head)
    module = written(tmp_path / "model.pt", given, trunk)
    assert set(torch.load(tmp_path / "model.pt", weights_only=True)) == {"state_dict", "wsl"}
    assert description_of(tmp_path / "model.pt") == given
    assert to_bytes(given, module) == (tmp_path / "model.pt").read_bytes()
    for spec in (f"file:{tmp_path}/model.pt", f"{tmp_path}/model.pt"):
        network = load_network(spec)
        assert tuple(network.classes) == given.classes and network.preprocess == given.preprocess
        assert network.outputs == "sigmoid" and network.notes == ()
        images = torch.rand(2, 3, SIDE, SIDE)
        with torch.inference_mode():
            assert torch.equal(network.module(images), module(images))
        layer = network.module.get_submodule(network.resolve_layer("last"))
        assert (gap_linear_head(network.module, layer, SIDE) is not None) == (head in ("gap", "conv-gap"))


def test_a_trunk_ends_at_its_layer():
    torch.manual_seed(0)
    module = untrained("torchvision:resnet18", 10)[0].eval()
    images = torch.rand(2, 3, SIDE, SIDE)
    caught: list[torch.Tensor] = []
    module.layer2.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    early = trunk_of(module, "layer2")
    with torch.inference_mode():
        module(images)
        assert torch.equal(early(images)["maps"], caught[-1])
    names = list(early.state_dict())
    assert "layer2.1.bn2.weight" in names and not any(name.startswith(("layer3", "fc")) for name in names)
    with pytest.raises(ConfigurationError, match="cannot be cut off"):
        trunk_of(module, "layer9")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": 2}, "a later version"),
        ({"form": "x"}, "damaged"),
        ({"form": float("inf")}, "damaged"),
        ({"head": "brain"}, "damaged"),
        ({"fit": "stretch"}, "damaged"),
        ({"classes": [["cat", None]]}, "damaged"),
        ({"classes": [["cat", None]] * 3}, "damaged"),
        ({"classes": [["cat", ["n1"]], ["dog", None], ["cow", None]]}, "damaged"),
        ({"classes": [["a\nb", None], ["dog", None], ["cow", None]]}, "damaged"),
        ({"shape": {"inputs": 512}}, "damaged"),
        ({"shape": {"inputs": 512, "side": 0, "classes": 3, "channels": 4, "kernel": 3}}, "damaged"),
        (
            {"shape": {"inputs": 999_999, "side": 1000, "classes": 3, "channels": 4, "kernel": 3}, "head": "fc"},
            "does not",
        ),
        ({"preprocess": None}, "damaged"),
        ({"preprocess": {**PIXELS, "std": [0.0, 0.0, 0.0]}}, "damaged"),
        ({"preprocess": {**PIXELS, "mean": [math.nan] * 3}}, "damaged"),
        ({"preprocess": {**PIXELS, "crop_ratio": -1.0}}, "damaged"),
        ({"preprocess": {**PIXELS, "resample": "foo"}}, "damaged"),
        ({"arch": "torchvision:resnet19"}, "does not describe its network.*resnet18"),
        ({"layer": "layer9"}, "does not describe its network.*cannot be cut off"),
        ({"layer": "layer3"}, "does not describe its network"),
        ({"tensors_sha256": "0" * 64}, "its tensors are not those that were written"),
    ],
)
def test_a_description_that_does_not_fit_is_one_line(tmp_path, trunk, change, message):
    written(tmp_path / "model.pt", DESCRIPTION, trunk)
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    content["wsl"] |= change
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_network(f"file:{tmp_path}/other.pt")
    assert "\n" not in str(caught.value)


def test_what_says_nothing_of_itself_must_be_described(tmp_path, trunk):
    torch.save(trunk.state_dict(), tmp_path / "plain.pt")
    with pytest.raises(ConfigurationError, match=r"arch=torchvision.*does not say what it is"):
        load_network(f"file:{tmp_path}/plain.pt")
    written(tmp_path / "model.pt", DESCRIPTION, trunk)
    with pytest.raises(ConfigurationError, match="leave out num_classes"):
        load_network(f"file:{tmp_path}/model.pt?num_classes=3")
    written(tmp_path / "crop.pt", replace(DESCRIPTION, fit="center_crop"), trunk)
    assert "model.fit=center_crop" in load_network(f"{tmp_path}/crop.pt").notes[0]


def test_every_head_can_be_configured():
    assert list(get_args(TrunkConfig.model_fields["head"].annotation)) == list(HEADS)
