"""Stores that fail, and runs on them that are killed: one line, then the bytes of a run that nothing disturbed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from pipeline.engine.journal import journal
from pipeline.store import atomic as storage
from pipeline.store.rundir import RunDir
from stages.ingest.uris import read_bytes
from tests.objectstore import BUCKET, SECRET, download, serving, upload
from tests.runs import COUNT, files, start, values, wsl

pytestmark = pytest.mark.slow

DIFFERING = {"run.json", "config.yaml", "manifest.parquet"}
"""Times, the runtime section, and where the images lie."""


@pytest.fixture(scope="module")
def store(tiny_data):
    with serving() as server:
        upload(tiny_data / "data", "data")
        yield server


@pytest.fixture(autouse=True)
def healthy(request):
    yield
    if "store" in request.fixturenames:
        request.getfixturevalue("store").fail = lambda method, path: None


def command(tiny_data: Path, out: object, *overrides: str) -> tuple:
    root = f"data.root=s3://{BUCKET}/data"
    return "run", tiny_data / "tiny.yaml", "runtime.shard_size=2", root, *overrides, "-q", "--out", out


def results(found: dict[str, bytes]) -> dict[str, bytes]:
    own = {name: data for name, data in found.items() if not name.startswith("logs/")}
    return {name: data for name, data in own.items() if Path(name).name not in {*DIFFERING, ".lock"}}


def commits(found: dict[str, bytes]) -> list[int]:
    """Shards whose commit stands in a journal of the run."""
    text = b"".join(data for name, data in found.items() if name.startswith("logs/"))
    return [line["shard"] for line in map(json.loads, text.splitlines()) if line["event"] == "commit"]


@pytest.fixture(scope="module")
def calm(store, tiny_data, tmp_path_factory):
    """Images in the store, results on the disk."""
    out = tmp_path_factory.mktemp("calm") / "run"
    done = wsl(*command(tiny_data, out))
    assert done.returncode == 0, done.stderr
    return results(files(out))


def test_images_in_a_store_give_the_scores_of_those_on_a_disk(calm, tiny_data, tmp_path):
    assert wsl("run", tiny_data / "tiny.yaml", "runtime.shard_size=2", "-q", "--out", tmp_path / "run").returncode == 0
    local = results(files(tmp_path / "run"))
    with_uris = {name for name in local if name.startswith("errors/") or name.endswith(".html")}
    assert local.keys() == calm.keys() and with_uris
    assert {name: values(local[name]) for name in local.keys() - with_uris} == {
        name: values(calm[name]) for name in local.keys() - with_uris
    }


def test_a_run_in_a_store_that_is_killed_and_resumed(store, calm, tiny_data):
    out = f"s3://{BUCKET}/runs/killed"
    shards = -(-COUNT // 2)
    for moment in (1, 7):
        process = start(*command(tiny_data, out))
        while process.poll() is None and len(download_parts("runs/killed")) < moment:
            time.sleep(0.005)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    kept = len(download_parts("runs/killed"))
    assert kept >= 7
    store.requests.clear()
    assert wsl(*command(tiny_data, out)).returncode == 0
    parts = [path for method, path, _ in store.requests if method == "PUT" and "/predictions/part-" in path]
    assert len(parts) == len(set(parts)) == shards - kept  # one PUT each, and no finished shard again
    found = download("runs/killed")
    assert results(found) == calm
    assert len(set(commits(found))) == len(commits(found)) >= shards - 2  # A kill may take the last line along.
    assert "_SUCCESS" in found and not any(name.startswith(".claims/") for name in found)
    text = b"".join(found.values())
    assert SECRET.encode() not in text and b"AWS_" not in text
    again = wsl(*command(tiny_data, out, "runtime.batch_size=3"))
    assert again.returncode == 0
    other = wsl(*command(tiny_data, out, "seed=7"))
    assert other.returncode == 2 and "differs in seed" in other.stderr


def download_parts(prefix: str) -> list[str]:
    from stages.ingest.uris import list_folder

    return list_folder(f"s3://{BUCKET}/{prefix}/predictions")[1]


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_journal_in_a_store_goes_on_in_another_object_and_survives_a_failure(store, monkeypatch, failing):
    monkeypatch.setattr("pipeline.engine.journal.LINES", 3)
    run = RunDir(f"s3://{BUCKET}/runs/journal-{failing}")
    with journal(run) as lines:
        for shard in range(4):
            if shard == failing:
                store.fail = lambda method, path: 500 if "/logs/" in path else None
            lines.processed(shard, {})
            store.fail = lambda method, path: None
    found = download(f"runs/journal-{failing}")
    # An object that could not be stored when it was full takes one line more.
    assert [len(found[name].splitlines()) for name in sorted(found)] == ([4] if failing == 2 else [3, 1])
    assert [json.loads(line)["shard"] for name in sorted(found) for line in found[name].splitlines()] == [0, 1, 2, 3]


def test_an_upload_that_is_interrupted_shows_all_or_nothing(store, monkeypatch):
    """In several parts, the interrupt behind the first: closing the stream there would show that part alone."""
    whole = os.urandom(20 << 20)
    uri = f"s3://{BUCKET}/interrupted"

    def copy(source, target, piece):
        target.write(source.read(piece))
        signal.raise_signal(signal.SIGINT)
        target.write(source.read())

    monkeypatch.setattr(storage.shutil, "copyfileobj", copy)
    # Where these tests run in a shell's background, Ctrl-C is ignored from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            storage.write(uri, [whole])
    finally:
        signal.signal(signal.SIGINT, before)
    assert read_bytes(uri) == whole


@pytest.mark.parametrize(("what", "status"), [("images", 503), ("parts", 500), ("everything", 503)])
def test_a_store_that_fails_is_said_in_one_line_and_the_run_resumes(store, calm, tiny_data, status, what):
    out = f"s3://{BUCKET}/runs/{what}-{status}"
    parts: set[str] = set()

    def fail(method: str, path: str) -> int | None:
        if method == "PUT" and "/predictions/part-" in path:
            parts.add(path)
        away = len(parts) > 3
        hit = {"images": "/data/images/" in path, "parts": "/predictions/" in path and method == "PUT"}
        return status if away and hit.get(what, True) else None

    store.fail = fail
    broken = wsl(*command(tiny_data, out))
    assert broken.returncode == (3 if what == "images" else 1), broken.stderr
    last = broken.stderr.splitlines()[-1]
    assert last.startswith("error: cannot ") and "run the same command again" in last
    assert SECRET not in broken.stderr and "Traceback" not in broken.stderr
    store.fail = lambda method, path: None
    if what == "images":
        assert 3 <= len(download_parts(f"runs/{what}-{status}")) < -(-COUNT // 2)
    done = wsl(*command(tiny_data, out))
    assert done.returncode == 0, done.stderr
    assert results(download(f"runs/{what}-{status}")) == calm


@pytest.fixture(scope="module")
def local(tiny_data, tmp_path_factory):
    """A run on a disk that nothing disturbed, in shards of 2."""
    out = tmp_path_factory.mktemp("local") / "run"
    assert wsl(*on_disk(tiny_data, out)).returncode == 0
    return files(out)


def on_disk(tiny_data: Path, out: Path) -> tuple:
    return "run", tiny_data / "tiny.yaml", "runtime.shard_size=2", "-q", "--out", out


@pytest.mark.parametrize("folder", ["predictions", "errors", "coco", "report"])
def test_a_folder_that_cannot_be_written_is_said_and_the_run_resumes(local, tiny_data, tmp_path, folder):
    """Permissions do not stop root, so a file stands where the folder was, from the third commit on."""
    out = tmp_path / "run"
    replacing = f"""
import os
from pipeline.store import rundir
commit = rundir.RunDir.commit
def blocked(self, shard, *tables):
    commit(self, shard, *tables)
    if shard == 2:
        os.rename({str(out / folder)!r}, {str(tmp_path / "aside")!r})
        open({str(out / folder)!r}, "w").close()
rundir.RunDir.commit = blocked
"""
    broken = wsl(*on_disk(tiny_data, out), prelude=replacing)
    last = broken.stderr.splitlines()[-1]
    # A shard without errors removes what an earlier try may have left there.
    what = "remove" if folder == "errors" else "write"
    assert broken.returncode == 1 and last.startswith(f"error: cannot {what} {out / folder}"), broken.stderr
    assert "Not a directory" in last and "run the same command again" in last
    refused = wsl(*on_disk(tiny_data, out))
    assert refused.returncode == 2 and f"cannot write to {out}" in refused.stderr.splitlines()[-1]
    (out / folder).unlink()
    (tmp_path / "aside").rename(out / folder)
    assert wsl(*on_disk(tiny_data, out)).returncode == 0
    assert files(out) == local


@pytest.mark.parametrize("kind", ["predictions", "errors"])
def test_a_cut_part_is_named_and_made_again(local, tiny_data, tmp_path, kind):
    """As a copy that broke off, or a disk that lost its end, leaves it; the run itself never does."""
    out = tmp_path / "run"
    assert wsl(*on_disk(tiny_data, out)).returncode == 0
    part = sorted((out / kind).glob("part-*.parquet"))[0]
    part.write_bytes(part.read_bytes()[:-100])
    (out / "_SUCCESS").unlink()
    mended = wsl(*on_disk(tiny_data, out))
    assert mended.returncode == 0
    assert f"{part} is damaged" in mended.stderr and "it is set aside as *.bad" in mended.stderr
    assert {name: data for name, data in files(out).items() if not name.endswith(".bad")} == local
