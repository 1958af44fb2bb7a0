import json
import shutil
from pathlib import Path

import pytest

from pipeline.commands.compare import compare
from pipeline.commands.relocalize import relocalize
from pipeline.commands.run import run
from pipeline.commands.verify import verify
from pipeline.report.page import write_report
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError, DataError
from tests.objectstore import BUCKET, serving
from tests.runs import BROKEN, files, wsl_here

ONE, TWO = "predictions/part-000001.parquet", "predictions/part-000002.parquet"
FAILED = f"errors/part-{(BROKEN - 1) // 5:06}.parquet"


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    run(tiny(), out)
    return out


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def swap(path):
    other = path.with_name("part-000003.parquet")
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


DAMAGES = {
    "a flipped bit": (ONE, flip),
    "no bytes": (ONE, lambda path: path.write_bytes(b"")),
    "cut off": (ONE, lambda path: path.write_bytes(path.read_bytes()[:-9])),
    "another shard's": (ONE, lambda path: shutil.copy(path.with_name("part-000000.parquet"), path)),
    "swapped": (ONE, swap),
    "the manifest": (ONE, lambda path: shutil.copy(path.parents[1] / "manifest.parquet", path)),
    "errors flipped": (FAILED, flip),
    "errors lost": (FAILED, lambda path: path.unlink()),
    "errors that were none": ("errors/part-000001.parquet", lambda path: shutil.copy(path.with_name(FAILED[7:]), path)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_named_set_aside_and_computed_again(finished, copy, tiny, caplog, damage):
    name, harm = DAMAGES[damage]
    harm(copy / name)
    if damage == "swapped":  # And the run was not complete.
        (copy / "_SUCCESS").unlink()
    found = verify(RunDir(copy))["damaged"]
    assert found and Path(name).name in found[0] and "is damaged (" in found[0]
    run(tiny(), copy)
    assert any(Path(name).name in line and "is damaged (" in line for line in caplog.messages)
    assert "it is set aside as *.bad, and computed again" in caplog.messages
    assert verify(RunDir(copy))["damaged"] == []
    assert {path: data for path, data in files(copy).items() if not path.endswith(".bad")} == files(finished)
    assert list(copy.rglob("*.bad"))


@pytest.mark.slow
@pytest.mark.parametrize("override", ["box.threshold=0.4", "data.limit=20"])
def test_a_part_of_another_run_is_not_taken(finished, copy, tiny, tmp_path, override):
    run(tiny(override), tmp_path / "other")
    shutil.copy(tmp_path / "other" / TWO, copy / TWO)
    run(tiny(), copy)
    assert {path: data for path, data in files(copy).items() if not path.endswith(".bad")} == files(finished)


def test_a_part_of_another_network_is_not_taken(copy):
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(info | {"weights_sha256": "0" * 64}))
    found = verify(RunDir(copy))
    assert len(found["damaged"]) == found["committed"] == 5


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("coco/predictions.json", marks=pytest.mark.slow),
        pytest.param("coco/ground_truth.json", marks=pytest.mark.slow),
        "metrics.json",
    ],
)
@pytest.mark.parametrize("content", [None, b"", b"[]"], ids=["lost", "empty", "emptied"])
def test_damaged_results_are_named_and_written_again(finished, copy, tiny, caplog, name, content):
    (copy / name).unlink() if content is None else (copy / name).write_bytes(content)
    (line,) = verify(RunDir(copy))["damaged"]
    assert name in line and ("is missing" if content is None else "is damaged") in line
    run(tiny(), copy)
    assert files(copy) == files(finished)
    assert any(name in line and "written again" in line for line in caplog.messages)


def test_whoever_reads_a_damaged_part_says_so(copy, tiny, tmp_path):
    flip(copy / ONE)
    readers = (
        lambda: relocalize(copy, ["box.threshold=0.3"], tmp_path / "new"),
        lambda: compare([str(copy)]),
        lambda: write_report(RunDir(copy), RunDir(copy).recipe()),
        lambda: list(RunDir(copy).predictions(["image_id"])),
        lambda: RunDir(copy).part("predictions", 1),
    )
    for read in readers:
        with pytest.raises(
            DataError,
            match=r"part-000001\.parquet is damaged \(its bytes are not those .*; run the command of its run again",
        ):
            read()


def test_an_edited_configuration_is_not_the_runs(copy, tiny):
    edited = (copy / "config.yaml").read_text().replace("seed: 0", "seed: 5")
    assert "seed: 5" in edited
    (copy / "config.yaml").write_text(edited)
    with pytest.raises(ConfigurationError, match=r"config\.yaml was changed after the run was begun; restore it"):
        run(tiny("seed=5"), copy)
    assert "config.yaml was changed" in verify(RunDir(copy))["damaged"][0]


def test_a_changed_manifest_is_named_by_whoever_reads_it(copy, tmp_path):
    flip(copy / "manifest.parquet")
    for read in (
        lambda: relocalize(copy, [], tmp_path / "new"),
        lambda: compare([str(copy)]),
        lambda: write_report(RunDir(copy), RunDir(copy).recipe()),
    ):
        with pytest.raises(DataError, match=r"manifest\.parquet is not the one that the run began with; restore it"):
            read()


def test_the_command_names_the_files_and_exits_3(copy, finished):
    whole = wsl_here("verify", finished, "--json")
    assert whole.returncode == 0 and json.loads(whole.stdout)["damaged"] == []
    flip(copy / ONE)
    (copy / TWO).write_bytes(b"")
    found = wsl_here("verify", copy, "--json")
    assert found.returncode == 3 and len(json.loads(found.stdout)["damaged"]) == 2
    said = wsl_here("verify", copy)
    assert said.returncode == 3 and "part-000001" in said.stdout and "part-000002" in said.stdout
    assert said.stderr.count("\n") == 1 and "part-000001.parquet is damaged" in said.stderr
    nothing = wsl_here("verify", copy / "report")
    assert nothing.returncode == 3 and nothing.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_run_in_a_store_is_verified_and_mended_there(finished, tiny):
    with serving():
        place = RunDir(f"s3://{BUCKET}/run")
        run(tiny(), place.uri)
        assert verify(place)["damaged"] == []
        place.write(ONE, place.read(TWO))
        assert ONE in verify(RunDir(place.uri))["damaged"][0]
        run(tiny(), place.uri)
        assert verify(RunDir(place.uri))["damaged"] == [] and place.exists(f"{ONE}.bad")
        assert place.read(ONE) == (finished / ONE).read_bytes()


def test_a_complete_run_without_checksums_is_read_and_says_so(copy, tiny):
    info = json.loads((copy / "run.json").read_text())
    for key in ("results", "config_sha256"):
        del info[key]
    (copy / "run.json").write_text(json.dumps(info | {"counts_form": 2}))
    found = verify(RunDir(copy))
    assert found["damaged"] == [] and "without checksums" in found["note"]
    assert run(tiny(), copy)["n_images"] == info["images"]
    (copy / ONE).write_bytes(b"PAR1 and then nothing")
    assert len(verify(RunDir(copy))["damaged"]) == 1
    with pytest.raises(ConfigurationError, match="which counts differently; finish it with the former"):
        run(tiny(), copy)
    assert (copy / ONE).exists() and (copy / "_SUCCESS").exists(), "it is left as it is"
