"""Networks by name, from files, from functions, and what can go wrong with them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config.recipe import resolve
from pipeline.engine.prepare import load_checked
from stages.classes import ClassInfo, imagenet_classes
from stages.classify.architectures import lite
from stages.classify.network import Network, Preprocess
from stages.classify.sources import SOURCES, check_spec, load_network
from stages.classify.sources.class_names import as_classes
from stages.classify.sources.known_classes import known_classes
from stages.classify.sources.untrained import untrained
from stages.classify.stage import Classify
from stages.errors import ConfigurationError, WeightsUnavailableError
from stages.trace.probe import last_spatial_layer
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
    conv = lite.SameConv2d(1, 1, kernel, 2, bias=False)
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


def deep_network() -> Network:
    """At 32 pixels its last layer leaves one cell, at 64 a map of 2 by 2."""
    deep = torch.nn.Sequential(*(torch.nn.Conv2d(3, 3, 3, 2, 1) for _ in range(5)))
    module = torch.nn.Sequential(deep, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return Network(seeded(lambda: module), preprocess=Preprocess(size=32), weights_sha256="none")


def test_the_default_layer_is_the_last_map_at_the_size_that_is_asked_for(tiny):
    network = deep_network()
    assert network.resolve_layer("last") == "0.3"
    assert network.resolve_layer("last", 64) == "0"
    assert network.resolve_layers(["last", "0.1"], 64) == ["0", "0.1"]
    spec = "python:tests.stages.classify.test_sources:deep_network"
    stage = Classify(spec, "none", "last", 64)
    stage.setup()
    answer = stage({"image": np.zeros((2, 64, 64, 3), dtype=np.uint8)})
    assert answer.context["trace"].activations.shape == (2, 3, 2, 2)
    overrides = (f"model.spec={spec}", "model.size=64", "explain.methods=[cam]")
    assert load_checked(resolve(tiny(*overrides)))[1].layers == ["0"]


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


def test_names_of_classes_are_kept_as_they_stand_without_the_mark_of_the_file(checkpoints, tmp_path):
    (tmp_path / "names.txt").write_bytes("\ufeffant\r\nbee \r\nwa\u0308sp\r\n".encode())
    spec = f"file:{checkpoints[0] / 'a.pt'}?arch=torchvision:squeezenet1_1&classes={tmp_path / 'names.txt'}"
    assert [info.name for info in load_network(spec).classes] == ["ant", "bee ", "wa\u0308sp"]


def test_the_classes_of_imagenet_are_recognized_however_they_are_spelt():
    known = imagenet_classes()
    names = [f"{info.name.upper().replace(' ', '_')} " for info in known]
    assert as_classes(names) == [ClassInfo(name, info.wnid) for name, info in zip(names, known, strict=True)]
    assert as_classes([*names[1:], names[0]])[0] == ClassInfo(names[1])


@pytest.mark.parametrize(
    ("spec", "count", "first"),
    [
        ("torchvision:resnet50@IMAGENET1K_V1", 1000, ["tench"]),
        ("timm:resnet50.a1_in1k", 1000, ["tench"]),
        ("timm:convnext_tiny.in12k", 0, []),
        ("python:tests.stages.toys:tiny_network", 7, ["class 0"]),
    ],
)
def test_the_classes_of_a_name_need_no_published_weights(spec, count, first, monkeypatch):
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *_, **__: pytest.fail("fetched"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = known_classes(spec)
    assert len(found) == count and [info.name for info in found[:1]] == first


@pytest.mark.parametrize(
    ("arch", "preprocess", "renormalises"),
    [
        ("torchvision:resnet50", Preprocess(224, "bilinear", 224 / 232), None),
        ("torchvision:googlenet", Preprocess(224, "bilinear", 224 / 256), True),
        ("torchvision:inception_v3", Preprocess(299, "bilinear", 299 / 342), True),
        ("torchvision:efficientnet_b0", Preprocess(224, "bicubic", 224 / 256), None),
        ("timm:inception_v4", Preprocess(299, "bicubic", 0.875, (0.5,) * 3, (0.5,) * 3), None),
        ("timm:resnet50.a1_in1k", Preprocess(224, "bicubic", 0.95), None),
        ("nin", Preprocess(), None),
    ],
)
def test_an_architecture_brings_the_preprocessing_of_its_published_weights(arch, preprocess, renormalises):
    with torch.device("meta"):
        module, found = untrained(arch, 3)
    assert found == preprocess
    assert getattr(module, "transform_input", None) is renormalises


def test_every_torchvision_architecture_has_a_preprocessing():
    """Above all no other one normalises again where torchvision itself loads published weights."""
    import inspect

    from torchvision import models

    assert all(len(models.get_model_weights(name)) for name in models.list_models(module=models))
    source = {name: inspect.getsource(models.get_model_builder(name)) for name in models.list_models(module=models)}
    assert {name for name, text in source.items() if "transform_input" in text} == {"googlenet", "inception_v3"}


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("resnet50", ConfigurationError, "unknown source"),
        ("torchvision:resnet5@X", ConfigurationError, r"did you mean resnet50\?"),
        ("torchvision:resnet50", ConfigurationError, "torchvision:resnet50@IMAGENET1K_V1"),
        ("timm:resnet5O", ConfigurationError, "did you mean resnet50"),
        ("file:{folder}/a.pt", ConfigurationError, "found no arch"),
        ("file:{folder}/none.pt?arch=torchvision:squeezenet1_1", WeightsUnavailableError, r"no weights at .*none\.pt"),
        ("file:{folder}/names.txt?arch=torchvision:squeezenet1_1", ConfigurationError, "not a readable checkpoint"),
        (
            "file:{folder}/a.pt?arch=torchvision:squeezenet1_1&num_classes=5",
            ConfigurationError,
            r"has shape \(3, 512, 1, 1\), the network's \(5, 512, 1, 1\)",
        ),
        ("file:{folder}/a.pt?arch=torchvision:resnet18&num_classes=3", ConfigurationError, r"lacks \d+ tensors"),
        ("file:{folder}/a.pt?arch=torchvision:squeezenet1_1&num_classes=many", ConfigurationError, "num_classes"),
        ("file:{folder}/a.pt?arch=timm:resnet5O", ConfigurationError, "did you mean resnet50"),
        ("python:tests.stages.nowhere:net", ConfigurationError, "No module named"),
        ("python:tests.stages.toys:CLASSES", ConfigurationError, "CLASSES is not a function"),
    ],
)
def test_mistakes_in_one_line(checkpoints, spec, error, message):
    with pytest.raises(error, match=message) as caught:
        load_network(spec.format(folder=checkpoints[0]))
    assert "\n" not in str(caught.value) and caught.value.about == "network"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet50", "unknown source 'resnet50'"),
        ("torchvision:resnet5@X", r"did you mean resnet50\?"),
        ("torchvision:resnet50@IMAGENET1K", "one of torchvision:resnet50@IMAGENET1K_V1"),
        ("timm:resnet5O", "did you mean resnet50"),
        ("timm:resnet50.a1_in2k", r"unknown weights .* did you mean resnet50\.a1_in1k"),
        ("lite0:large", "lite0 takes nothing after it; found 'large'"),
        ("digits-cnn:2", "digits-cnn takes nothing after it"),
        ("file:a.pt?arch=lite0&clases=names.txt", "found unknown clases"),
        ("file:a.pt?arch=lit0", "unknown arch 'lit0'; did you mean lite0"),
        ("file:a.pt?arch=torchvision:resnet5", "did you mean resnet50"),
        ("file:a.pt?arch=lite0&num_classes=0", "num_classes=0 is not a number from 1"),
        ("python:mynet", "write python:package.module:factory; found python:mynet"),
        ("python::make", "write python:package.module:factory"),
        ("python:nets..mine:make", "write python:package.module:factory"),
    ],
)
def test_what_a_name_alone_gets_wrong_is_found_without_weights(spec, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        check_spec(spec)
    assert caught.value.about == "network"


@pytest.mark.parametrize(
    "spec",
    [
        *(one.example for one in SOURCES.values()),
        "timm:resnet50",
        "file:none.pt?arch=nin",
        "file:none.pt?arch=lite0&classes=none.txt",
        "python:nowhere.at.all:make",
    ],
)
def test_a_good_name_needs_neither_weights_nor_files_nor_modules(spec, monkeypatch):
    loaded = []
    monkeypatch.setattr("torch.nn.Module.load_state_dict", lambda *_, **__: loaded.append(spec))
    check_spec(spec)
    assert not loaded


def test_files_lie_in_the_folder_that_is_given(checkpoints, tmp_path, monkeypatch):
    folder, module = checkpoints
    monkeypatch.chdir(tmp_path)
    spec = "file:a.pt?arch=torchvision:squeezenet1_1&classes=names.txt"
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(load_network(spec, folder).module(x), module(x))
    with pytest.raises(ConfigurationError, match=r"no file of class names at .*names\.txt"):
        load_network(spec)


@pytest.mark.slow
def test_a_network_that_is_not_torchvisions_does_not_wait_for_torchvision():
    """Neither does the table of the methods that explain it."""
    code = (
        "import sys\nfrom stages.classify.sources import SOURCES, load_network\n"
        "assert 'torch' not in sys.modules\nload_network('python:tests.stages.toys:tiny_network')\n"
        "from stages.explain.registry import explainers\nexplainers()\n"
        "assert 'torch' in sys.modules and 'torchvision' not in sys.modules, 'imported'\n"
    )
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=True)


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"weight": Evil()}, protocol=2))
    with pytest.raises(ConfigurationError, match="not a readable checkpoint"):
        load_network(f"file:{tmp_path / 'evil.pt'}?arch=torchvision:squeezenet1_1")
    assert not (tmp_path / "ran").exists()
