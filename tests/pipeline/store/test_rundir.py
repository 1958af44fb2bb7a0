from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from pipeline.config.recipe import resolve
from pipeline.engine.prepare import prepare
from pipeline.store.info import SCHEMA, RunInfo
from pipeline.store.rundir import RunDir
from pipeline.store.tables import COUNTS_FORM, error_table, prediction_table
from stages.batch import ImageError
from stages.errors import ConfigurationError, DataError, OutputError, StorageError
from tests.objectstore import BUCKET, SECRET, serving

FAILED = error_table([(7, "/x/7.jpg", ImageError("decode", "Empty", "no bytes"))])


@pytest.fixture
def run(tmp_path, tiny):
    return opened(tmp_path / "run", tiny())


def opened(place, config):
    """A run directory that has got as far as its ``run.json``."""
    run = RunDir.open(place, config)
    run.write_info(RunInfo(schema=SCHEMA, counts_form=COUNTS_FORM, images=1, shard_size=1, precision="fp32"))
    return run


def test_a_commit_is_whole_or_absent(run, monkeypatch):
    table = prediction_table({}, [], "{}")
    run.commit(3, table, FAILED)
    assert run.committed() == {3}
    assert [part["image_id"].to_pylist() for part in run.errors()] == [[7]]

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for broken in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, broken, full)
            with pytest.raises(
                OutputError, match=r"cannot write .*part-000004\.parquet: No space left .* run the same command"
            ):
                run.commit(4, table, FAILED.slice(0, 0))
        assert run.committed() == {3}
        assert not list(run.path.rglob("*-tmp"))
    run.commit(4, table, FAILED.slice(0, 0))
    assert run.committed() == {3, 4}
    assert not (run.path / "errors" / "part-000004.parquet").exists()


def test_errors_of_an_uncommitted_shard_do_not_count(run):
    run.write("errors/part-000009.parquet", b"half of a commit")
    assert list(run.errors()) == []


def test_a_retry_without_errors_takes_back_those_of_the_first_try(run, store, tiny):
    for place in (run, opened(f"s3://{BUCKET}/run", tiny())):
        place.write("errors/part-000003.parquet", b"of the first try")
        place.commit(3, prediction_table({}, [], "{}"), FAILED.slice(0, 0))
        assert place.committed() == {3} and list(place.errors()) == []


def test_leftovers_of_killed_writers_are_removed_and_never_read(run, tiny):
    dying = """
import os, signal, sys
from pipeline.store.rundir import RunDir
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
RunDir(sys.argv[1]).write(sys.argv[2], b"PAR1")
"""
    for name in ("predictions/part-000001.parquet", "run.json"):
        path = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        subprocess.run([sys.executable, "-c", dying, run.uri, name], env=path, check=False)
    assert len(list(run.path.rglob("*-tmp"))) == 2, "killed in the middle of a write"
    assert run.committed() == set()
    RunDir.open(run.path, tiny())  # They do not make the folder a stranger's.
    run.clean()
    assert not list(run.path.rglob("*-tmp"))


def test_temporary_files_of_others_are_left_alone_and_make_a_folder_theirs(run, tmp_path, tiny):
    (run.path / "notes").mkdir()
    theirs = [
        run.path / name for name in (".mine.tmp", "coco/.draft.tmp", "notes/.draft.tmp", "notes/.a.1.wsl-pipeline-tmp")
    ]
    for one in theirs:
        one.write_text("years of work")
    run.clean()
    assert [one.read_text() for one in theirs] == ["years of work"] * 4
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / ".mine.tmp").write_text("years of work")
    with pytest.raises(ConfigurationError, match="is not empty and holds no run"):
        RunDir.open(tmp_path / "fresh", tiny())


def test_a_damaged_part_is_named(run):
    run.write("predictions/part-000002.parquet", b"PAR1 and then nothing")
    with pytest.raises(
        DataError,
        match=r"part-000002\.parquet is damaged .*; run the command of its run again, which computes it again",
    ):
        list(run.predictions())


def test_another_configuration_is_refused_with_the_differing_keys(run, tiny):
    RunDir.open(run.path, tiny("seed=9"))  # nothing was begun yet: a mistake may be mended in place
    prepare(run, resolve(tiny()))
    RunDir.open(run.path, tiny("runtime.workers=1"))
    with pytest.raises(ConfigurationError, match=r"differs in box\.threshold, seed\); choose another --out"):
        RunDir.open(run.path, tiny("seed=4", "box.threshold=0.3"))


def test_a_folder_that_is_no_run_is_left_alone(tmp_path, tiny):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigurationError, match="is not empty and holds no run"):
        RunDir.open(tmp_path, tiny())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_place_that_cannot_be_written(tmp_path, tiny):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"--out: cannot write to .*: Not a directory"):
        RunDir.open(tmp_path / "file" / "run", tiny())


def test_equal_tables_give_equal_bytes(run):
    table = prediction_table({}, [], '{"a": 1}')
    run.commit(1, table, FAILED)
    run.commit(2, table, FAILED)
    one, two = (run.read(f"predictions/part-00000{index}.parquet") for index in (1, 2))
    run.commit(1, table, FAILED)
    assert run.read("predictions/part-000001.parquet") == one
    assert len(one) == len(two) and one != two, "they say which shard they are"
    assert pq.read_schema(run.path / "predictions" / "part-000001.parquet").metadata[b"wsl_pipeline.schema"] == b"1"


@pytest.fixture
def store():
    with serving() as server:
        yield server


def test_a_place_where_files_do_not_appear_whole_is_refused(tiny):
    for place, message in (("hdfs://node/run", "runs are written to"), ("s3:/bucket/run", "neither a local path")):
        with pytest.raises(ConfigurationError, match=message):
            RunDir.open(place, tiny())


def test_a_uri_with_a_secret_is_refused_and_not_repeated(tiny):
    for uri in (f"s3://user:{SECRET}@bucket/run", f"s3://bucket/run?secret_key={SECRET}"):
        with pytest.raises(ConfigurationError, match="give credentials in the environment") as caught:
            RunDir.open(uri, tiny())
        assert SECRET not in str(caught.value)
        with pytest.raises(ConfigurationError, match="give credentials in the environment"):
            prepare(RunDir("never-written"), resolve(tiny(f"data.root={uri}")))


def test_what_a_directory_in_a_store_does(store, tiny):
    run = opened(f"s3://{BUCKET}/a run", tiny())
    run.commit(2, prediction_table({}, [], "{}"), FAILED)  # It asks once what made the run.
    store.requests.clear()
    run.commit(3, prediction_table({}, [], "{}"), FAILED)
    assert [(method, path) for method, path, _ in store.requests] == [
        ("PUT", f"/{BUCKET}/a run/errors/part-000003.parquet"),
        ("PUT", f"/{BUCKET}/a run/predictions/part-000003.parquet"),
    ]
    copy = pickle.loads(pickle.dumps(run))
    assert copy.committed() == {2, 3} and [part["image_id"].to_pylist() for part in copy.errors()] == [[7], [7]]
    assert run.part("errors", 3).num_rows == 1 and run.part("errors", 4).num_rows == 0
    run.write("_SUCCESS", b"")
    assert run.complete
    run.reopen()
    assert not run.complete
    with pytest.raises(DataError, match=r"has no run\.json"):
        RunDir(f"s3://{BUCKET}/no run").info()
    run.write("predictions/part-000002.parquet", b"PAR1 and then nothing")
    with pytest.raises(DataError, match=r"s3://.*part-000002\.parquet is damaged"):
        list(run.predictions())
    with pytest.raises(ConfigurationError, match="is not empty and holds no run"):
        RunDir.open(f"s3://{BUCKET}", tiny())
    with pytest.raises(ConfigurationError, match="--out: cannot write to s3://no-such-bucket/run"):
        RunDir.open("s3://no-such-bucket/run", tiny())


@pytest.mark.slow  # clients ask for 6 seconds before they give a store up
def test_a_store_that_is_away_is_said_by_whatever_asks_it(store, tiny):
    run = RunDir.open(f"s3://{BUCKET}/run", tiny())
    info = prepare(run, resolve(tiny()))[1]
    file = run.manifest
    store.fail = lambda method, path: 503
    for ask in (
        lambda: run.complete,
        lambda: run.committed(),
        lambda: run.read_json("run.json"),
        lambda: pq.read_table(run.manifest),
        lambda: pq.read_table(file),
    ):
        with pytest.raises(StorageError, match=r"cannot read s3://bucket/run.*run the same command again") as caught:
            ask()
        assert "\n" not in str(caught.value) and SECRET not in str(caught.value)
    for change in (lambda: run.write("metrics.json", b"{}"), run.reopen):
        with pytest.raises(OutputError, match="s3://bucket/run"):
            change()
    store.fail = lambda method, path: None
    assert pq.read_table(run.manifest).num_rows == info.images
    assert not run.exists("metrics.json")


def test_a_file_that_breaks_off_while_it_is_made_is_not_there(store, tiny, tmp_path):
    def pieces():
        yield b"x" * 20_000_000
        raise DataError("the source broke off")

    for place in (f"s3://{BUCKET}/run", tmp_path / "run"):
        run = RunDir.open(place, tiny())
        with pytest.raises(DataError, match="broke off"):
            run.stream("coco/predictions.json", pieces())
        assert not run.exists("coco/predictions.json")
        run.stream("coco/predictions.json", [b"x" * 20_000_000, b"y"])
        assert run.read("coco/predictions.json") == b"x" * 20_000_000 + b"y"
