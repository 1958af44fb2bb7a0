"""The boxes of foreground-cam on real photographs, computed twice by code that shares nothing."""

from __future__ import annotations

import json

import pytest

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
