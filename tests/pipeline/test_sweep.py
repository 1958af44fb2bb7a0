"""A sweep is what its runs would be one by one, with the maps made once."""

from __future__ import annotations

import json

import pytest

from pipeline.run import run
from pipeline.sweep import sweep
from stages.errors import ConfigurationError
from tests.runs import files, wsl


def test_each_combination_is_the_run_that_it_names(tiny, tiny_data, tmp_path):
    lists = ["box.protocol=[cam2016,choe2020]", "box.threshold=[0.1,0.2]", "data.limit=8"]
    results = sweep(str(tiny_data / "tiny.yaml"), lists, tmp_path / "sweep")
    names = ["cam2016-0.1", "cam2016-0.2", "choe2020-0.1", "choe2020-0.2"]
    assert [one["variant"] for one in results] == names
    for name in names[:3]:
        protocol, threshold = name.split("-")
        run(tiny(f"box.protocol={protocol}", f"box.threshold={threshold}", "data.limit=8"), tmp_path / name)
        assert files(tmp_path / "sweep" / name) == files(tmp_path / name)
    seconds = [json.loads((tmp_path / "sweep" / name / "run.json").read_text())["seconds"] for name in names]
    assert ["decode" in one for one in seconds] == [True, False, False, False]


def test_layers_take_a_run_each(tiny_data, tmp_path):
    lists = [
        "explain.layer=[features.1,features.3]",
        "box.threshold=[0.1,0.2]",
        "data.limit=4",
        "explain.methods=[gradcam]",
    ]
    results = sweep(str(tiny_data / "tiny.yaml"), lists, tmp_path / "sweep")
    assert [one["variant"] for one in results] == [
        "features.1-0.1",
        "features.1-0.2",
        "features.3-0.1",
        "features.3-0.2",
    ]
    made = [
        "decode" in json.loads((tmp_path / "sweep" / one["variant"] / "run.json").read_text())["seconds"]
        for one in results
    ]
    assert made == [True, False, True, False]


def test_every_combination_is_checked_first(tiny_data, tmp_path):
    with pytest.raises(ConfigurationError, match=r"box\.connectivity: 4 needs another box\.component"):
        sweep(
            str(tiny_data / "tiny.yaml"), ["box.protocol=[cam2016,choe2020]", "box.connectivity=4"], tmp_path / "sweep"
        )
    assert not (tmp_path / "sweep").exists()


def test_the_command_ends_in_one_table(tiny_data, tmp_path):
    arguments = "sweep", tiny_data / "tiny.yaml", "box.threshold=[0.1,0.3]", "--limit", 5, "--json"
    result = wsl(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    runs = json.loads(result.stdout)["runs"]
    assert [one["variant"] for one in runs] == ["0.1", "0.3"]
    assert all((tmp_path / one["run_dir"] / "_SUCCESS").exists() for one in runs)
    assert "0.1  cam" in result.stderr and "0.3  gradcam" in result.stderr
