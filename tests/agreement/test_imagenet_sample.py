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
        "corloc": cam["corloc"]["0.5"]["value"],
        "pointing_game": cam["pointing_game"]["value"],
        "energy_pointing_game": cam["energy_pointing_game"]["value"],
    }
    assert 0.80 <= found["top1"] <= 0.84
    assert found == pytest.approx(scores(imagenet_sample), abs=0.005)
    losses, strata = cam["losses"], cam["strata"]
    assert losses["images"] == losses["decoded"] == 333
    assert losses["classified"] == round(333 * found["top1"])
    assert losses["localized"]["0.5"] == round(333 * found["top1_loc"])
    assert losses["localized"]["0.5"] + sum(losses["errors"]["0.5"].values()) == 333
    for kind in ("size", "objects", "border"):
        shares = [entry["0.5"] for entry in strata[kind].values()]
        assert sum(entry["n"] for entry in shares) == 333
        assert sum(entry["value"] * entry["n"] for entry in shares) == pytest.approx(
            333 * found["gt_known_loc"], abs=0.01
        )
    assert metrics["zero_line"]["gt_known_loc"]["0.5"]["value"] < found["gt_known_loc"]
