"""A sweep is what its runs would be one by one, with the maps made once."""

from __future__ import annotations

import json

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.commands.run import run
from pipeline.commands.sweep import sweep
from stages.boxes.protocols import fingerprint, get_protocol
from stages.errors import ConfigurationError
from tests.runs import files, wsl_here


@pytest.mark.slow  # several runs
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


@pytest.mark.slow  # several runs
def test_layers_share_one_run_and_are_what_each_would_be_alone(tiny, tiny_data, tmp_path):
    methods = "explain.methods=[gradcam,layercam]"
    lists = ["explain.layer=[features.1,features.3]", "box.threshold=[0.1,0.2]", "data.limit=8", methods]
    results = sweep(str(tiny_data / "tiny.yaml"), lists, tmp_path / "sweep")
    assert [one["variant"] for one in results] == ["0.1", "0.2"]
    seconds = [json.loads((tmp_path / "sweep" / one / "run.json").read_text())["seconds"] for one in ("0.1", "0.2")]
    assert ["classify" in one for one in seconds] == [True, False]
    together = pq.read_table(tmp_path / "sweep" / "0.1" / "predictions")
    for layer in ("features.1", "features.3"):
        scores = run(tiny(f"explain.layer={layer}", "box.threshold=0.1", "data.limit=8", methods), tmp_path / layer)
        alone = pq.read_table(tmp_path / layer / "predictions")
        for method in ("gradcam", "layercam"):
            own, placed = (
                part.filter(pc.field("method") == name)
                for part, name in ((alone, method), (together, f"{method}@{layer}"))
            )
            assert own.num_rows and own.drop(["method"]).equals(placed.drop(["method"]))
            theirs = scores["methods"][method]
            assert results[0]["methods"][f"{method}@{layer}"]["mean_iou"] == theirs["mean_iou"]


def test_every_combination_is_checked_first(tiny_data, tmp_path):
    with pytest.raises(ConfigurationError, match=r"box\.connectivity: 4 needs another component"):
        sweep(
            str(tiny_data / "tiny.yaml"), ["box.protocol=[cam2016,choe2020]", "box.connectivity=4"], tmp_path / "sweep"
        )
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_the_command_ends_in_one_table(tiny_data, tmp_path):
    arguments = "sweep", tiny_data / "tiny.yaml", "box.threshold=[0.1,0.3]", "--limit", 5, "--json"
    result = wsl_here(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    runs = json.loads(result.stdout)["runs"]
    assert [one["variant"] for one in runs] == ["0.1", "0.3"]
    assert all((tmp_path / one["run_dir"] / "_SUCCESS").exists() for one in runs)
    assert "0.1  cam" in result.stderr and "0.3  gradcam" in result.stderr


@pytest.mark.slow
def test_a_choice_of_the_file_holds_for_every_variant_in_any_order(tiny_data, tmp_path):
    tree = yaml.safe_load((tiny_data / "tiny.yaml").read_text()) | {"box": {"threshold": 0.35}}
    tree["data"] |= {"root": str(tiny_data / "data"), "limit": 5}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(tree))
    found = {}
    for order in ("cam2016,choe2020", "choe2020,cam2016"):
        results = sweep(str(tmp_path / "own.yaml"), [f"box.protocol=[{order}]"], tmp_path / order)
        found[order] = {one.pop("variant"): one | {"run_dir": ""} for one in results}
    assert found["cam2016,choe2020"] == found["choe2020,cam2016"]
    for name, one in found["cam2016,choe2020"].items():
        assert one["protocol_fingerprint"] == fingerprint(get_protocol(name, threshold=0.35))


@pytest.mark.slow
def test_several_layers_in_the_file_are_one_choice(tiny_data, tmp_path):
    tree = yaml.safe_load((tiny_data / "tiny.yaml").read_text())
    tree["data"] |= {"root": str(tiny_data / "data"), "limit": 3}
    tree["explain"] = {"methods": ["gradcam"], "layer": ["features.1", "features.3"]}
    (tmp_path / "fused.yaml").write_text(yaml.safe_dump(tree))
    results = sweep(str(tmp_path / "fused.yaml"), ["box.threshold=[0.1,0.2]"], tmp_path / "sweep")
    assert [one["variant"] for one in results] == ["0.1", "0.2"]
