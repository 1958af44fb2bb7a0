"""Thresholds from another run: the ones that are best there, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest

from pipeline.commands.run import run
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError, DataError


@pytest.fixture(scope="module")
def halves(tmp_path_factory, tiny_data):
    """The tiny data as two data sets without a common image, and a run on the first."""
    from pipeline.config.load import load_config

    folder = tmp_path_factory.mktemp("halves")
    content = json.loads((tiny_data / "data" / "annotations.json").read_text())
    for name, parity in (("calibration", 0), ("scored", 1)):
        (folder / name / "images").mkdir(parents=True)
        images = [one for one in content["images"] if one["id"] % 2 == parity]
        kept = {one["id"] for one in images}
        for one in images:
            shutil.copy(tiny_data / "data" / one["file_name"], folder / name / one["file_name"])
        annotations = [one for one in content["annotations"] if one["image_id"] in kept]
        text = json.dumps(content | {"images": images, "annotations": annotations})
        (folder / name / "annotations.json").write_text(text)

    def config(name: str, *overrides: str):
        return load_config(str(tiny_data / "tiny.yaml"), [f"data.root={folder / name}", *overrides])[1]

    run(config("calibration"), folder / "run")
    return config, folder / "run"


def test_the_best_threshold_there_is_scored_here(halves, tmp_path):
    config, calibration = halves
    metrics = run(config("scored", f"evaluate.calibrate_on={calibration}"), tmp_path / "scored")
    chosen = RunDir(calibration).read_json("metrics.json")["methods"]
    for method in ("cam", "gradcam"):
        own = metrics["methods"][method]
        for delta, entry in own["gt_known_loc_calibrated"].items():
            assert entry["threshold"] == chosen[method]["max_box_acc"][delta]["threshold"]
            at = own["box_acc_curve"]["thresholds"].index(entry["threshold"])
            assert entry["value"] == own["box_acc_curve"][delta][at] <= own["max_box_acc"][delta]["value"]
            assert entry["n"] == own["max_box_acc"][delta]["n"] and entry["ci95"][0] <= entry["value"]
    assert "calibrated threshold" in (tmp_path / "scored" / "report" / "index.html").read_text()
    plain = run(config("scored"), tmp_path / "plain")
    assert "gt_known_loc_calibrated" not in plain["methods"]["cam"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["data.limit=3"], None),
        (["box.threshold=0.4"], None),
        (["box.protocol=choe2020"], r"scores by other rules: box\.\w+ is .* there and .* here"),
        (["box.connectivity=4"], r"box\.connectivity is 8 there and 4 here"),
        (["model.fit=letterbox"], r"other maps \(model\.fit differ\)"),
        (["explain.methods=[layercam]"], r"no threshold sweep of layercam at IoU 0\.3"),
        (["evaluate.iou=[0.4]"], r"no threshold sweep of cam at IoU 0\.4"),
        (["evaluate.sweep=false"], r"evaluate\.sweep"),
    ],
)
def test_only_a_run_by_the_same_rules_calibrates(halves, tmp_path, overrides, line):
    config, calibration = halves
    settings = config("scored", f"evaluate.calibrate_on={calibration}", *overrides)
    if line is None:
        assert "gt_known_loc_calibrated" in run(settings, tmp_path / "run")["methods"]["cam"]
        return
    with pytest.raises(ConfigurationError, match=line) as refused:
        run(settings, tmp_path / "run")
    assert str(refused.value).startswith("evaluate.calibrate_on: ") and "\n" not in str(refused.value)
    assert not RunDir(tmp_path / "run").committed()


def test_a_run_that_shares_images_is_refused(halves, tiny, tmp_path):
    config, calibration = halves
    for settings in (config("calibration"), tiny()):  # the same addresses; copies with the same names and sizes
        shared = settings.model_copy(
            update={"evaluate": settings.evaluate.model_copy(update={"calibrate_on": str(calibration)})}
        )
        with pytest.raises(ConfigurationError, match=r"shares 11 images with this run, such as images/bild 2 é\.png"):
            run(shared, tmp_path / str(settings.data.root).rsplit("/")[-1])


def test_a_run_that_is_not_there_or_not_done_is_refused(halves, tmp_path):
    config, calibration = halves
    with pytest.raises(DataError, match=r"has no metrics\.json"):
        run(config("scored", f"evaluate.calibrate_on={tmp_path / 'none'}"), tmp_path / "one")
    shutil.copytree(calibration, tmp_path / "half")
    (tmp_path / "half" / "_SUCCESS").unlink()
    with pytest.raises(DataError, match="is not complete"):
        run(config("scored", f"evaluate.calibrate_on={tmp_path / 'half'}"), tmp_path / "two")
