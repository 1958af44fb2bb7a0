"""Several trainings in one command, on the pictures of test_train."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.commands.study import choices, study
from pipeline.commands.train import train
from pipeline.config.training import load_training
from pipeline.engine import features
from pipeline.store.training import TrainDir
from stages.errors import ConfigurationError
from stages.evaluate.statistics.paired import share_difference
from tests.pipeline.commands.test_train import pictures, weights  # noqa: F401
from tests.runs import wsl_here


@pytest.fixture
def given(pictures, weights) -> Callable[..., list[str]]:  # noqa: F811
    def overrides(*own: str) -> list[str]:
        spec = f"model.spec=file:{weights}?arch=torchvision:resnet18&num_classes=10"
        common = [f"data.root={pictures}", spec, "model.size=64", "model.layer=layer3", "runtime.executor=inline"]
        return [*common, "optimizer.epochs=3", "runtime.shard_size=10", *own]

    return overrides


def test_a_list_stands_for_several_trainings_and_features_are_computed_once(given, tmp_path, monkeypatch):
    stored = []
    store = features.FeaturesJob.store
    monkeypatch.setattr(
        features.FeaturesJob,
        "store",
        lambda self, shard, *rest: stored.append(shard.index) or store(self, shard, *rest),
    )
    found = study("head", choices(given("model.head=[gap,conv-gmp]")), str(tmp_path / "study"))
    assert sorted(stored) == [0, 1, 2, 3], "the second head finds them"
    assert [one["variant"] for one in found["trainings"]] == ["gap", "conv-gmp"]
    assert {path.name for path in (tmp_path / "study").iterdir()} >= {"gap", "conv-gmp", "study.json", "report"}
    assert not (tmp_path / "study" / "features").exists()

    tables = [TrainDir(tmp_path / "study" / name).predictions() for name in ("gap", "conv-gmp")]
    assert all(table.num_rows == 6 for table in tables) and tables[0]["image_id"] == tables[1]["image_id"]
    hits = [table["right"].to_numpy() for table in tables]
    expected = share_difference(*hits)
    assert found["differences"]["conv-gmp"] == {"a": round(hits[0].mean(), 6), "b": round(hits[1].mean(), 6)} | expected
    assert found["trainings"][0]["classification"]["top1"]["value"] == pytest.approx(hits[0].mean(), abs=1e-6)

    for name in ("gap", "conv-gmp"):  # As if it had been trained alone.
        train(load_training("head", given(f"model.head={name}"))[1], tmp_path / name)
        alone, together = (folder / "model.pt" for folder in (tmp_path / name, tmp_path / "study" / name))
        assert alone.read_bytes() == together.read_bytes()
    page = (tmp_path / "study" / "report" / "index.html").read_text(encoding="utf-8")
    assert "<bdi>conv-gmp</bdi>" in page and "difference" in page.lower()


@pytest.mark.slow
def test_images_that_fail_are_told_of_every_training(given, pictures, tmp_path):  # noqa: F811
    import shutil

    folder = tmp_path / "data"
    shutil.copytree(pictures, folder)
    (folder / "red" / "00.png").write_bytes(b"none")
    chosen = choices(given(f"data.root={folder}", "model.head=[gap,fc]"))
    found = study("head", chosen, str(tmp_path / "study"))
    for one in found["trainings"]:
        assert one["n_failed"] == 1
        parts = list(Path(one["run_dir"], "errors").iterdir())
        assert [Path(row["uri"]).name for part in parts for row in pq.read_table(part).to_pylist()] == ["00.png"]


@pytest.mark.slow
def test_features_of_another_layer_are_others(given, tmp_path, caplog):
    overrides = [one for one in given() if not one.startswith("model.layer=")]
    found = study("head", choices([*overrides, "model.layer=[layer2,layer3]"]), str(tmp_path / "study"))
    assert [one["training"]["parameters"] for one in found["trainings"]] == [3 * 129, 3 * 257]
    assert "damaged" not in caplog.text and not (tmp_path / "study" / "features").exists()


@pytest.mark.slow
def test_trainings_with_other_test_images_are_not_compared(given, tmp_path):
    found = study("head", choices(given("seed=[0,1]")), str(tmp_path / "study"))
    assert len(found["trainings"]) == 2 and found["differences"] == {}


def test_mistakes(given, tmp_path):
    with pytest.raises(ConfigurationError, match="each once"):
        choices(given("model.head=[gap,gap]"))
    (tmp_path / "mine.txt").write_text("")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigurationError, match=r"--out: .* holds mine\.txt, which is not of this study"):
        study("head", choices(given("model.head=[gap,fc]")), str(tmp_path))
    assert sorted(tmp_path.iterdir()) == before
    said = wsl_here("train", "head", *given("model.head=[gap,brain]"), "--out", tmp_path / "none")
    assert said.returncode == 2 and "model.head" in said.stderr and not (tmp_path / "none").exists()
    shown = wsl_here("train", "head", *given("model.head=[gap,fc]"), "--dry-run", "--json")
    assert json.loads(shown.stdout)["fc"]["head"] == "fc"
