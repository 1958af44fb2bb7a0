"""The scores of real photographs, computed twice by code that shares nothing."""

from __future__ import annotations

import json

import pytest

from tests.agreement.independent_scores import scores
from tests.runs import wsl

pytestmark = pytest.mark.slow


def test_the_command_agrees_with_a_second_computation(imagenet_sample, tmp_path):
    arguments = (
        "run",
        "imagenet-val",
        f"data.root={imagenet_sample}",
        "model.spec=lite0",
        "--json",
        "--out",
        tmp_path / "run",
    )
    result = wsl(*arguments)
    assert result.returncode == 0, result.stderr
    metrics = json.loads(result.stdout)
    assert metrics["n_images"] == 333 and metrics["n_failed"] == 0
    cam = metrics["methods"]["cam"]
    found = {
        "top1": metrics["classification"]["top1"]["value"],
        "gt_known_loc": cam["gt_known_loc"]["0.5"]["value"],
        "top1_loc": cam["top1_loc"]["0.5"]["value"],
        "mean_iou": cam["mean_iou"]["value"],
    }
    assert 0.80 <= found["top1"] <= 0.84
    assert found == pytest.approx(scores(imagenet_sample), abs=0.005)
