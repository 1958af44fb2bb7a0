"""The boxes of foreground-cam on real photographs, computed twice by code that shares nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.scores.quality import boxes_with_cues
from pipeline.store.rundir import RunDir
from stages.quality.model import cross_fitted, fit, shipped
from stages.quality.scores import auroc
from tests.agreement.independent_foreground import scores
from tests.runs import wsl

pytestmark = pytest.mark.slow


def test_three_scales_agree_with_a_second_computation(imagenet_sample, tmp_path):
    network = "model.spec=lite0", "model.size=448", "explain.scales=[0.5,0.714286,1.0]", "explain.targets=[label]"
    boxes = "explain.methods=[foreground-cam]", "box.protocol=foreground2026", "evaluate.sweep=false"
    data = f"data.root={imagenet_sample}"
    result = wsl("run", "imagenet-val", data, *network, *boxes, "--json", "-q", "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)["methods"]["foreground-cam"]
    other = scores(imagenet_sample)
    values = {level: one["value"] for level, one in found["gt_known_loc"].items()}
    values["mean_iou"] = found["mean_iou"]["value"]
    print(values, other)
    assert {name: values[name] for name in other} == pytest.approx(other, abs=0.005)
    assert found["gt_known_loc"]["0.5"]["value"] >= 0.69 and found["gt_known_loc"]["0.7"]["value"] >= 0.48
    assert found["mean_iou"]["value"] >= 0.61
    # These are the boxes that the package's model of quality for several scales was fitted on.
    cues = np.concatenate([cues for _, cues, _ in boxes_with_cues(RunDir(tmp_path / "run"), "foreground-cam", [0], [])])
    overlap = np.concatenate([part["iou"].to_numpy() for part in RunDir(tmp_path / "run").predictions(["iou"])])
    again = fit(cues, overlap >= 0.5, "")
    np.testing.assert_allclose(again.of(True).weights, shipped().of(True).weights, rtol=1e-3, atol=1e-3)
    rated = cross_fitted(cues, overlap >= 0.5, np.arange(len(cues)))
    assert auroc(rated, overlap >= 0.5)["value"] >= 0.58, "by models of other images"
