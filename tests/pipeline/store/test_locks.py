from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.commands.run import run
from pipeline.store import locks
from pipeline.store.atomic import write
from pipeline.store.locks import CLAIMS, locked
from stages.errors import ConfigurationError, OutputError
from stages.ingest.uris import list_folder
from tests.objectstore import BUCKET, serving

RUN = f"s3://{BUCKET}/run"


@pytest.fixture(scope="module", autouse=True)
def store():
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(locks, "BEAT", 0.1)
    monkeypatch.setattr(locks, "STALE", 1.5)


def claims() -> list[str]:
    return list_folder(f"{RUN}/{CLAIMS}")[1]


def leave(**owner: object) -> None:
    """The claim of a process that writes nothing any more."""
    write(f"{RUN}/{CLAIMS}/{'0' * 32}.json", [json.dumps(owner).encode()])


@pytest.mark.parametrize("where", ["store", "disk"])
def test_the_second_is_refused_in_one_line_and_the_first_keeps_its_lock(tmp_path, where):
    run = RUN if where == "store" else str(tmp_path)
    with locked(run):
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="another process works on this run") as caught, locked(run):
                pass
            assert "\n" not in str(caught.value)
    with locked(run):
        pass
    assert claims() == []


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_disk_without_locks_is_named_and_a_complete_run_needs_none(tmp_path, tiny, monkeypatch, code):
    metrics = run(tiny(), tmp_path / "run")

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert run(tiny(), tmp_path / "run") == metrics
    (tmp_path / "run" / "_SUCCESS").unlink()
    with pytest.raises(ConfigurationError, match=rf"--out: .*{os.strerror(code)}") as caught:
        run(tiny(), tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_complete_run_in_a_bucket_that_cannot_be_written_is_read(tiny, monkeypatch):
    out = f"s3://{BUCKET}/complete"
    metrics = run(tiny("data.limit=2"), out)

    def refuse(uri: str, pieces: object) -> None:
        raise OutputError(f"cannot write {uri}: ACCESS_DENIED")

    monkeypatch.setattr(locks, "write", refuse)
    assert run(tiny("data.limit=2"), out) == metrics
    with pytest.raises(OutputError, match="ACCESS_DENIED"):
        run(tiny("data.limit=2"), f"s3://{BUCKET}/other")


@pytest.mark.slow
def test_a_complete_run_on_a_read_only_disk_is_read(tmp_path, tiny, tiny_data):
    run(tiny(), tmp_path / "run")
    words = f"{sys.executable} -P -c 'from pipeline.shell.cli import main; main()'"
    here = f"{tmp_path}/run"
    commands = [f"run {tiny_data}/tiny.yaml --out {here} --json", f"status {here}", f"verify {here}", f"compare {here}"]
    script = " && ".join(
        [f"mount --bind {here} {here}", f"mount -o remount,ro,bind {here}", f"! touch {here}/x"]
        + [f"{words} {command}" for command in commands]
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    found = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in found.stderr or "mount" in found.stderr:
        pytest.skip("no disk can be mounted here")
    assert found.returncode == 0, found.stderr
    assert "nothing to do" in found.stderr


def test_a_silent_claim_of_another_host_is_taken_over_after_a_while():
    leave(host="elsewhere", boot="x", pid=1, beat=9)
    before = time.monotonic()
    with locked(RUN):
        assert time.monotonic() - before >= locks.STALE
        assert len(claims()) == 1
    assert claims() == []


def test_a_damaged_claim_keeps_nobody_away():
    write(f"{RUN}/{CLAIMS}/{'0' * 32}.json", [b"{"])
    with locked(RUN):
        pass
    assert claims() == []


def test_a_process_of_this_host_that_died_is_known_at_once(monkeypatch):
    monkeypatch.setattr(locks, "STALE", 600.0)
    claim = f"{CLAIMS}/dead.json"
    code = f"import os; from pipeline.store.locks import _renew; _renew({RUN!r}, {claim!r}, 0); os._exit(1)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert claims() == ["dead.json"]
    with locked(RUN):
        assert "dead.json" not in claims()


def test_of_many_at_once_never_two_hold_it(monkeypatch):
    monkeypatch.setattr(locks, "STALE", 30.0)  # On a busy machine all their hearts may pause for a second.
    holding: list[int] = []
    most: list[int] = []

    def compete(number: int) -> str:
        for _ in range(20):
            try:
                with locked(RUN):
                    holding.append(1)
                    most.append(len(holding))
                    time.sleep(0.1)
                    holding.pop()
                return "held"
            except ConfigurationError:
                time.sleep(0.05 * number)  # Those that start at the same moment may all withdraw.
        return "withdrew"

    with ThreadPoolExecutor(4) as threads:
        ends = list(threads.map(compete, range(1, 5)))  # Raises what a thread raised.
    assert "held" in ends and set(most) == {1}
    assert claims() == []


def test_a_claim_that_cannot_be_read_at_once_is_asked_for_again(store):
    refused = []

    def fail(method: str, path: str) -> int | None:
        refused.append(method == "GET" and path.endswith(".json"))
        return 403 if refused[-1] and sum(refused) < 3 else None

    with locked(RUN):
        store.fail = fail
        try:
            with pytest.raises(ConfigurationError, match="another process works on this run"), locked(RUN):
                pass
        finally:
            store.fail = lambda method, path: None
    assert sum(refused) > 2


def test_a_store_that_refuses_some_renewals_does_not_lose_the_run(store):
    seen = []

    def fail(method: str, path: str) -> int | None:
        beat = method == "PUT" and f"/{CLAIMS}/" in path
        seen.append(beat)
        return 503 if beat and 1 < sum(seen) < 5 else None

    store.fail = fail
    try:
        with locked(RUN):
            time.sleep(0.5)
    finally:
        store.fail = lambda method, path: None
    assert claims() == []
