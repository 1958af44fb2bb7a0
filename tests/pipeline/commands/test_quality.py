"""Quality of a run's boxes: judged, fitted, and used by exports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.commands.export import export
from pipeline.commands.quality import quality
from pipeline.commands.run import run
from pipeline.config.load import load_config
from pipeline.scores.quality import boxes_with_cues
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError, DataError
from stages.quality.model import RIDGE, fit, shipped
from tests.runs import wsl_here


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("quality") / "run"
    run(tiny(), out)
    return out


def test_a_run_is_judged_and_fitted(finished, tmp_path, monkeypatch):
    parts = list(RunDir(finished).predictions(["target_rank", "method", "iou"]))
    rows = [row for part in parts for row in part.to_pylist() if row["target_rank"] == 0 and row["method"] == "cam"]
    # Half of so few boxes must be right, or a fold has none of a kind.
    monkeypatch.setattr("pipeline.commands.quality.RIGHT", np.median([row["iou"] for row in rows if row["iou"]]))
    copy = RunDir(Path(shutil.copytree(finished, tmp_path / "run")))
    before = quality(copy)
    assert (
        not before["calibrated"]
        and before["model"] == shipped().one_map.fitted_on
        and before["judged"]["right"]["n"] > 5
    )
    found = quality(copy, copy)
    n = before["judged"]["right"]["n"]
    assert found["calibrated"] and found["model"] == f"{n} boxes of {copy}" and "judged" not in found
    assert found["fitted"]["right"] == before["judged"]["right"]
    export(copy.uri, "csv", tmp_path / "fitted", images="none")
    export(finished, "csv", tmp_path / "shipped", images="none")
    assert (tmp_path / "fitted" / "labels.csv").read_bytes() != (tmp_path / "shipped" / "labels.csv").read_bytes()
    (tmp_path / "run" / "quality.json").write_text("{")
    with pytest.raises(DataError, match=r"quality\.json is no model"):
        quality(copy)


def test_without_ground_truth_there_is_a_rank_and_a_note(tiny, tiny_data, finished, tmp_path):
    flat = tmp_path / "class 3"
    flat.mkdir()
    for image in sorted((tiny_data / "data" / "images").iterdir())[:5]:
        shutil.copy(image, flat)
    run(tiny("data.format=imagefolder", f"data.root={tmp_path}"), tmp_path / "run" / "it")
    found = quality(RunDir(tmp_path / "run" / "it"))
    assert "no ground truth" in found["note"] and "judged" not in found
    with pytest.raises(DataError, match="fit on a run that has"):
        quality(RunDir(finished), RunDir(tmp_path / "run" / "it"))
    with pytest.raises(ConfigurationError, match="--method: unknown method 'cma'; did you mean cam"):
        quality(RunDir(finished), method="cma")


def test_the_command(finished):
    found = wsl_here("quality", finished)
    assert found.returncode == 0 and "a rank, no probability" in found.stderr and "AUROC" in found.stderr
    answer = json.loads(wsl_here("quality", finished, "--json").stdout)
    assert answer["judged"]["auroc"]["n"] == answer["judged"]["right"]["n"]


@pytest.mark.slow
def test_the_shipped_model_is_what_its_file_says(imagenet_sample, tmp_path):
    overrides = [f"data.root={imagenet_sample}", "model.spec=lite0", "explain.methods=[cam]", "runtime.executor=inline"]
    out = tmp_path / "run"
    run(load_config("imagenet-val", overrides)[1], out)
    part = np.concatenate([cues for _, cues, _ in boxes_with_cues(RunDir(out), "cam", [0], [])])
    found = quality(RunDir(out), RunDir(out))
    assert len(part) == 333 and RIDGE == 0.1
    assert found["fitted"]["auroc"]["value"] >= 0.6, "by models of other images"
    halves = found["fitted"]["kept"]
    assert halves["0.5"]["value"] >= halves["1"]["value"] + 0.05
    rows = list(RunDir(out).predictions(["target_rank", "iou"]))
    overlap = np.concatenate([row["iou"].to_numpy()[row["target_rank"].to_numpy() == 0] for row in rows])
    again = fit(part, overlap >= 0.5, "")
    np.testing.assert_allclose(again.one_map.weights, shipped().one_map.weights, rtol=1e-3, atol=1e-3)
