"""The start of a run: what is refused leaves nothing behind, and a dry run refuses the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.commands.relocalize import relocalize
from pipeline.commands.run import preview, run
from pipeline.commands.status import status
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError, DataError, UserError
from tests.objectstore import BUCKET, serving

REFUSED = {
    "no data": ("data.root=/nowhere/at/all",),
    "no weights": ("model.spec=file:/none.pt?arch=lite0",),
    "a network that fails": ("model.spec=python:tests.stages.toys:none_such",),
    "no layer": ("explain.layer=features.9",),
    "no GPU": ("runtime.device=cuda",),
    "no calibration": ("evaluate.calibrate_on=/nowhere",),
    "no blacklist": ("evaluate.blacklist=/nowhere",),
    "label alone": ("data.format=imagefolder", "data.root={images}", "explain.targets=[label]"),
}


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    run(tiny("data.limit=6"), out)
    return out


@pytest.fixture
def stopped(finished, tmp_path):
    """A run that was interrupted."""
    out = Path(shutil.copytree(finished, tmp_path / "stopped"))
    for name in ("_SUCCESS", "predictions/part-000001.parquet"):
        (out / name).unlink()
    return out


def refusal(carry_out, *arguments):
    with pytest.raises(UserError) as caught:
        carry_out(*arguments)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("overrides", REFUSED.values(), ids=REFUSED)
def test_a_start_that_fails_leaves_nothing_and_a_dry_run_fails_alike(tiny, tiny_data, tmp_path, overrides):
    config = tiny(*(one.format(images=tiny_data / "data" / "images") for one in overrides))
    deep, kept = tmp_path / "a" / "b" / "run", tmp_path / "kept"
    kept.mkdir()
    for out in (deep, kept):
        assert refusal(preview, config, out) == refusal(run, config, out)
    assert list(tmp_path.rglob("*")) == [kept]


def test_a_dry_run_leaves_nothing_either(tiny, tmp_path):
    found = preview(tiny(), tmp_path / "a" / "run")
    assert found["images"] == 23 and list(tmp_path.iterdir()) == []


def test_nothing_of_another_run_or_of_the_user_is_removed(tiny, stopped, tmp_path):
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    config = tiny("data.limit=6")
    assert preview(config, stopped)["images"] == 6
    refusal(run, tiny("data.limit=6", "runtime.device=cuda"), stopped)
    refusal(run, tiny("data.limit=5"), stopped)
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == before
    notes = tmp_path / "thesis" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    refusal(run, config, notes.parent)
    assert [path.name for path in notes.parent.iterdir()] == ["notes.txt"]


def test_a_relocalization_that_fails_leaves_nothing(finished, tmp_path):
    with pytest.raises(DataError, match=r"evaluate\.calibrate_on"):
        relocalize(finished, ["evaluate.calibrate_on=/nowhere"], tmp_path / "a" / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_refuses_a_directory_that_the_run_would_refuse(tiny, stopped, tmp_path):
    config = tiny("data.limit=6")
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    for out, message in (
        ("/proc/none", "--out: cannot write to /proc/none"),
        (tmp_path / "file" / "run", "--out: cannot write to"),
        (tmp_path / ("n" * 300), "--out: cannot write to"),
        (tmp_path / "full", "is not empty and holds no run"),
    ):
        assert message in refusal(preview, config, out)[1]
        assert refusal(preview, config, out) == refusal(run, config, out)
    assert "differs in data.limit" in refusal(preview, tiny("data.limit=5"), stopped)[1]
    with RunDir(stopped).locked():
        assert "another process works on this run" in refusal(preview, config, stopped)[1]
    info = json.loads((stopped / "run.json").read_text())
    for changed, message in (
        ({"weights_sha256": "0" * 64}, "the weights have changed"),
        ({"precision": "bf16"}, "runtime.precision has changed"),
        ({"counts_form": 0}, "which counts differently"),
        ({"device": "cuda"}, "was begun on cuda"),
    ):
        (stopped / "run.json").write_text(json.dumps(info | changed))
        assert message in refusal(preview, config, stopped)[1]
        assert refusal(preview, config, stopped) == refusal(run, config, stopped)


@pytest.mark.slow  # a whole run for one line
def test_a_dry_run_refuses_a_changed_blacklist(tiny, tmp_path):
    (tmp_path / "list.txt").write_text("3\n")
    config = tiny("data.limit=5", f"evaluate.blacklist={tmp_path / 'list.txt'}")
    run(config, tmp_path / "run")
    (tmp_path / "list.txt").write_text("4\n")
    assert "list.txt has changed since" in refusal(preview, config, tmp_path / "run")[1]


def test_a_start_that_fails_leaves_no_object(tiny):
    from stages.ingest.remote import remote

    with serving() as store:
        out = f"s3://{BUCKET}/a/b/run"
        refusal(run, tiny("explain.layer=features.9"), out)
        filesystem, bucket = remote(f"s3://{BUCKET}")
        assert store.puts(".json") == 1, "the claim"
        from pyarrow.fs import FileSelector

        assert [one.path for one in filesystem.get_file_info(FileSelector(bucket, recursive=True))] == []


def test_a_run_that_prepares_says_so(tiny, tmp_path, monkeypatch):
    """The network asks, as it is loaded, how the run goes that loads it."""
    (tmp_path / "asking.py").write_text(
        "from pipeline.commands.status import status\nfrom pipeline.store.rundir import RunDir\n"
        "from tests.stages.toys import tiny_network\nheard = []\n"
        "def make():\n    heard.append(status(RunDir('run')))\n    return tiny_network()\n"
    )
    monkeypatch.chdir(tmp_path)
    config = tiny("data.limit=3", "model.spec=python:asking:make", "explain.layer=features.9")
    refusal(run, config, "run")
    import asking

    assert asking.heard[0] == {"state": "preparing", "images": None, "done": 0, "failed": 0, "complete": False}
    with pytest.raises(DataError, match=r"has no run\.json: no run was begun there"):
        status(RunDir("run"))
    left = RunDir.open("left", tiny())  # a process that was killed while it prepared
    with left.locked():
        assert status(left)["state"] == "preparing"
    with pytest.raises(DataError, match="no run was begun there, or it has not got that far"):
        status(left)
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match="no run was begun there"):
        status(RunDir("pictures"))
    assert list((tmp_path / "pictures").iterdir()) == []


def test_a_directory_that_cannot_be_locked_is_named(tiny, tmp_path):
    (tmp_path / "run" / ".lock").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"--out: cannot write to .*run: Is a directory"):
        run(tiny(), tmp_path / "run")
