"""Stored maps scored again: the run's own rules give the run again, others give what a run with them gives."""

from __future__ import annotations

import json
import shutil

import pytest

from pipeline.commands.relocalize import BATCH_ROWS, relocalize, relocalize_all
from pipeline.commands.run import run
from stages.errors import ConfigurationError, DataError
from stages.evaluate.coco_ap import average_precision
from tests.runs import COUNT, files, wsl, wsl_here

COCO_FILES = "ground_truth", "predictions"


@pytest.fixture(scope="module")
def source(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("source") / "run"
    run(tiny("box.threshold=0.3", "evaluate.faithfulness=[average_drop]"), out)
    return out


def test_its_own_rules_give_the_run_again_to_the_byte(source, tmp_path, monkeypatch):
    relocalize(source, [], tmp_path / "one")
    assert files(tmp_path / "one") == files(source)
    monkeypatch.setattr("pipeline.commands.relocalize.BATCH_ROWS", 7)
    relocalize(source, ["runtime.workers=3"], tmp_path / "two")
    assert files(tmp_path / "two") == files(source) and BATCH_ROWS != 7
    # What was relocalized can be relocalized.
    relocalize(tmp_path / "one", [], tmp_path / "three")
    assert files(tmp_path / "three") == files(source)


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["center_crop", "letterbox"])
def test_other_rules_give_what_a_run_with_them_gives(tiny, tmp_path, fit):
    options = f"model.fit={fit}", "data.limit=12"
    run(tiny(*options), tmp_path / "run")
    for rules in (["box.protocol=choe2020"], ["box.threshold=0.1", "evaluate.iou=[0.5]", "seed=3"]):
        run(tiny(*options, *rules), tmp_path / f"run-{rules[0]}")
        relocalize(tmp_path / "run", rules, tmp_path / f"again-{rules[0]}")
        assert files(tmp_path / f"again-{rules[0]}") == files(tmp_path / f"run-{rules[0]}")


@pytest.mark.slow
def test_a_named_protocol_comes_without_what_the_run_had_changed(source, tmp_path):
    kept = relocalize(source, ["box.connectivity=4"], tmp_path / "kept")
    named = relocalize(source, ["box.protocol=gradcam2017"], tmp_path / "named")
    assert "threshold: 0.3" in (tmp_path / "kept" / "config.yaml").read_text()
    assert "threshold: null" in (tmp_path / "named" / "config.yaml").read_text()
    assert kept["protocol_fingerprint"] != named["protocol_fingerprint"]


@pytest.mark.slow  # several runs
def test_lists_are_every_combination_and_resume(source, tmp_path):
    rules = ["box.protocol=[cam2016,choe2020]", "box.threshold=[0.1,0.25]", "evaluate.iou=[0.3,0.5]"]
    results = relocalize_all(source, rules, tmp_path / "many")
    names = ["cam2016-0.1", "cam2016-0.25", "choe2020-0.1", "choe2020-0.25"]
    assert [one["variant"] for one in results] == names
    assert len({one["protocol_fingerprint"] for one in results}) == 4
    assert all(set(one["methods"]["cam"]["gt_known_loc"]) == {"0.3", "0.5"} for one in results)
    (tmp_path / "many" / names[2] / "_SUCCESS").unlink()
    (tmp_path / "many" / names[2] / "predictions" / "part-000001.parquet").unlink()
    progress = []
    assert relocalize_all(source, rules, tmp_path / "many", progress.append) == results
    assert [one.computed for one in progress] == [0, 5]


def test_failed_images_and_origins_travel(source, tmp_path):
    metrics = relocalize(source, ["box.protocol=choe2020"], tmp_path / "new")
    assert metrics["n_failed"] == 1 and metrics["n_images"] == COUNT
    before, after = (json.loads((one / "run.json").read_text()) for one in (source, tmp_path / "new"))
    assert after["source"] == {key: before[key] for key in ("config_hash", "weights_sha256", "manifest_sha256")}
    assert after["failed"] == 1 and after["seconds"]["components"] >= 0


def test_what_cannot_be_is_refused(source, tiny, tmp_path):
    with pytest.raises(ConfigurationError, match=r"model\.size=64: this needs the network"):
        relocalize(source, ["model.size=64"], tmp_path / "new")
    with pytest.raises(ConfigurationError, match=r"holds a run of another configuration .*box\.threshold"):
        relocalize(source, ["box.threshold=0.1"], source)
    with pytest.raises(ConfigurationError, match="holds no relocalization of"):
        relocalize(source, [], source)
    with pytest.raises(ConfigurationError, match=r"box\.threshold: \[\] must have at least one value"):
        relocalize_all(source, ["box.threshold=[]"], tmp_path / "new")
    with pytest.raises(ConfigurationError, match=r"must have at least one value, and each once"):
        relocalize_all(source, ["box.threshold=[0.1,0.1]"], tmp_path / "new")
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    (copy / "_SUCCESS").unlink()
    with pytest.raises(DataError, match="copy is not complete; run its command again"):
        relocalize(copy, [], tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_the_command_needs_neither_torch_nor_images(tiny, tiny_data, tmp_path):
    shutil.copytree(tiny_data / "data", tmp_path / "data")
    run(tiny(f"data.root={tmp_path / 'data'}"), tmp_path / "run")
    shutil.rmtree(tmp_path / "data")
    watch = "import atexit, sys; atexit.register(lambda: print([m for m in ('torch', 'ray') if m in sys.modules]))"
    arguments = "relocalize", tmp_path / "run", "box.protocol=[cam2016,choe2020]", "--out", tmp_path / "many"
    result = wsl(*arguments, prelude=watch)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"
    assert "cam2016  cam" in result.stderr and "choe2020  full_image" in result.stderr
    single = wsl_here("relocalize", tmp_path / "run", "box.threshold=0.1", "--out", tmp_path / "one", "--json", "-q")
    metrics = json.loads(single.stdout)
    assert single.stderr == "" and metrics["run_dir"] == str(tmp_path / "one")
    assert metrics["methods"]["cam"]["mean_iou"]["n"] == COUNT - 1
    missing = wsl_here("relocalize", tmp_path / "run")
    assert missing.returncode == 2 and "--out" in missing.stderr and len(missing.stderr.splitlines()) == 1


@pytest.mark.slow
def test_blacklisted_images_leave_every_score(source, tmp_path):
    (tmp_path / "blacklist.txt").write_text("3\n4\n99\n")
    rules = ["box.protocol=ilsvrc-clsloc"]
    full = relocalize(source, rules, tmp_path / "full")
    rules.append(f"evaluate.blacklist={tmp_path / 'blacklist.txt'}")
    less = relocalize(source, rules, tmp_path / "less")
    assert full["protocol_fingerprint"] != less["protocol_fingerprint"]
    for metrics, n in ((full, COUNT - 1), (less, COUNT - 3)):
        cam, whole = metrics["methods"]["cam"], metrics["baselines"]["full_image"]
        assert cam["clsloc_error"]["top5"]["n"] == cam["mean_iou"]["n"] == whole["mean_iou"]["n"] == n
        assert cam["clsloc_error"]["top1"]["value"] == round(1 - cam["top1_loc"]["0.5"]["value"], 6)
        assert cam["max_box_acc"]["0.5"]["n"] == n
        assert {one["n"] for one in metrics["classification"].values()} == {n}
        assert cam["losses"]["images"] == n + 1 and cam["losses"]["decoded"] == n  # One image is broken.
        assert sum(cam["strata"]["class"]["n"]) == n
        assert cam["pointing_game"]["n"] == cam["energy_pointing_game"]["n"] == n
        assert whole["energy_pointing_game"]["n"] == whole["corloc"]["0.5"]["n"] == n
    truth, found = (json.loads((tmp_path / "less" / "coco" / f"{name}.json").read_text()) for name in COCO_FILES)
    assert len(truth["images"]) == COUNT  # The files are the run's, whatever is scored.
    assert full["methods"]["cam"]["coco"] == average_precision(truth, found)
    truth["annotations"] = [one for one in truth["annotations"] if one["image_id"] not in (3, 4)]
    left = [one for one in found if one["image_id"] not in (3, 4)]
    assert less["methods"]["cam"]["coco"] == average_precision(truth, left) != full["methods"]["cam"]["coco"]


@pytest.mark.slow
def test_a_changed_blacklist_is_refused(source, tmp_path):
    (tmp_path / "list.txt").write_text("3\n")
    rules = [f"evaluate.blacklist={tmp_path / 'list.txt'}"]
    metrics = relocalize(source, rules, tmp_path / "new")
    (tmp_path / "new" / "_SUCCESS").unlink()
    (tmp_path / "list.txt").write_text("4\n")
    with pytest.raises(ConfigurationError, match=r"evaluate\.blacklist: .*list\.txt has changed since .*new was begun"):
        relocalize(source, rules, tmp_path / "new")
    (tmp_path / "list.txt").write_text("3\n")
    assert relocalize(source, rules, tmp_path / "new") == metrics
