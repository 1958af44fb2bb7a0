"""Intervals of differences between real runs, computed twice by code that shares nothing."""

from __future__ import annotations

import json

import pytest

from tests.agreement.independent_compare import differences
from tests.runs import wsl

pytestmark = pytest.mark.slow


def test_intervals_over_photographs_agree_with_a_second_computation(imagenet_sample, tmp_path):
    for method in ("cam", "layercam"):
        arguments = "run", "imagenet-val", f"data.root={imagenet_sample}", "model.spec=lite0"
        result = wsl(
            *arguments, f"explain.methods=[{method}]", "explain.targets=[label,top5]", "--out", tmp_path / method
        )
        assert result.returncode == 0, result.stderr
    result = wsl("compare", tmp_path / "cam", tmp_path / "layercam", "--json")
    assert result.returncode == 0, result.stderr
    (pair,) = json.loads(result.stdout)["pairs"]
    assert (pair["a"], pair["b"], pair["unpaired"]) == ("cam/cam", "layercam/layercam", 0)
    second = differences(tmp_path / "cam", tmp_path / "layercam", "cam", "layercam")
    for name, expected in second.items():
        found = pair["metrics"][name] if name == "mean_iou" else pair["metrics"][name]["0.5"]
        assert found["n"] == expected["n"] == 333
        assert found["difference"] == pytest.approx(expected["difference"], abs=1e-6)
        # Both are random draws: the ends differ by a fraction of the interval.
        width = expected["ci95"][1] - expected["ci95"][0]
        assert found["ci95"] == pytest.approx(expected["ci95"], abs=0.1 * width + 1e-6)
        if "mcnemar_p" in expected:
            assert found["mcnemar_p"] == pytest.approx(expected["mcnemar_p"], rel=1e-4)
        low, high = expected["ci95"]
        if abs(expected["difference"]) > width:
            assert not found["noise"] and not low <= 0 <= high
