"""A local Ray cluster: nobody else gets in, and nothing of it is left, however its run ends."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pipeline.engine.executors.session import MARK, Session
from tests.faults.processes import Run
from tests.repetitions import ALL
from tests.runs import commits, start

pytestmark = pytest.mark.slow

GRACE = 10.0
"""Seconds after a run's end within which everything of it must be gone."""
NOBODY = 65534


@pytest.fixture
def temporary(monkeypatch):
    """An empty folder for temporary files; not pytest's own, whose name is too long for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="wsl-"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


def processes(mark: object) -> list[int]:
    """Living processes whose environment or command names a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(mark).encode() in (process / "environ").read_bytes() + (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            pass
    return found


def left(folder: Path) -> list[object]:
    """What is in a folder and which processes name it, once all are gone or the grace is over."""
    last = time.monotonic() + GRACE
    while (found := [*folder.iterdir(), *map(command, processes(folder))]) and time.monotonic() < last:
        time.sleep(0.1)
    return found


def command(pid: int) -> str:
    """Words of a process."""
    try:
        return f"{pid} {Path(f'/proc/{pid}/cmdline').read_bytes()!r}"
    except OSError:
        return f"{pid}, which has just ended"


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([], 0),
        ([signal.SIGKILL], -signal.SIGKILL),
        ([signal.SIGTERM], 143),
        pytest.param([signal.SIGTERM, signal.SIGTERM], 143, marks=ALL),
        pytest.param([signal.SIGHUP], 129, marks=ALL),
        pytest.param([signal.SIGINT, signal.SIGINT], 130, marks=ALL),
    ],
)
def test_nothing_outlives_a_run(tiny_data, tmp_path, temporary, signals, code):
    options = "runtime.executor=ray", "runtime.shard_size=1", "runtime.workers=1", "-q"
    process = start("run", tiny_data / "tiny.yaml", *options, "--out", tmp_path / "run")
    while process.poll() is None and not commits(tmp_path / "run"):
        time.sleep(0.01)
    assert len(processes(temporary)) > 5 and len(list(temporary.glob("ray-*"))) == 1
    for one in signals:
        process.send_signal(one)
        time.sleep(0.2)
    assert process.wait(120) == code
    assert left(temporary) == []


def test_a_driver_killed_as_its_cluster_starts_leaves_nothing(tiny_data, tmp_path, temporary):
    process = start("run", tiny_data / "tiny.yaml", "runtime.executor=ray", "-q", "--out", tmp_path / "run")
    while process.poll() is None and not list(temporary.glob("ray-*/r/session_*/logs/gcs_server*")):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert left(temporary) == []


def titled(folder: Path, mode: str) -> subprocess.Popen[str]:
    """A process that has opened a log in a folder, and whose title stands over all of its environment."""
    code = (
        "import sys, time, ray._raylet; log = open(sys.argv[1] + '/log', sys.argv[2]); "
        "ray._raylet.setproctitle('ray::Agent'); print(flush=True); time.sleep(600)"
    )
    (folder / "log").touch()
    command = [sys.executable, "-c", code, str(folder), mode]
    process = subprocess.Popen(command, env={MARK: str(folder)}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "\n"
    assert not Path(f"/proc/{process.pid}/environ").read_bytes().strip(b"\0")
    return process


def test_only_processes_that_belong_to_a_session_end_with_it(temporary):
    (temporary / "mine").write_text("")
    mine, other = Session(), Session()
    sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(sleeping, env=os.environ | {"RAY_AUTH_TOKEN_PATH": str(mine.token)})
    # Titles stand where environments were.
    agent, follower = [titled(mine.folder, mode) for mode in ("w", "r")]
    stranger = subprocess.Popen(sleeping, env=os.environ | {"RAY_AUTH_TOKEN_PATH": str(other.token)})
    reader = subprocess.Popen([*sleeping, str(mine.folder)])
    try:
        mine.close()
        assert child.wait(5) == agent.wait(5) == -signal.SIGKILL
        assert stranger.poll() is follower.poll() is reader.poll() is None
        assert sorted(temporary.iterdir()) == sorted([temporary / "mine", other.folder])
    finally:
        other.close()
        for one in (child, agent, follower, stranger, reader):
            one.kill()
            one.wait()
    assert list(temporary.iterdir()) == [temporary / "mine"]


STRANGER = """
import os, sys
from pathlib import Path
from ray._raylet import GcsClient

address, folder, user = sys.argv[1:]
if user:
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
for path in (folder, f"{folder}/token", f"{folder}/r"):
    try:
        print("read", os.listdir(path) if os.path.isdir(path) else Path(path).read_text())
    except OSError as error:
        print(type(error).__name__)
try:
    print("joined", GcsClient(address=address).internal_kv_keys(b"", None, timeout=5))
except Exception as error:
    print(type(error).__name__, str(error).splitlines()[0])
sys.stdout.flush()
os._exit(0)
"""


def stranger(address: str, folder: Path, user: int | None = None, **environment: str) -> list[str]:
    """What a process sees of a cluster: its folder, its token, Ray's folder, and the answer when it connects."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    command = [sys.executable, "-P", "-c", STRANGER, address, str(folder), "" if user is None else str(user)]
    result = subprocess.run(command, env=clean | environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_a_local_cluster_is_closed_to_others(temporary, monkeypatch):
    import ray

    from pipeline.engine.executors import cluster

    try:
        with monkeypatch.context() as environment:  # What somebody has set for other clusters.
            environment.setenv("RAY_AUTH_MODE", "disabled")
            environment.setenv("RAY_AUTH_TOKEN", "1" * 64)
            before = settings()
            cluster.connect()
            assert settings() == before
        (folder,) = temporary.iterdir()
        token = folder / "token"
        assert {one: stat.S_IMODE(one.stat().st_mode) for one in (folder, token)} == {folder: 0o700, token: 0o600}
        assert folder.stat().st_uid == token.stat().st_uid == os.getuid() and len(token.read_text()) == 64

        address = ray.get_runtime_context().gcs_address
        knows = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        assert stranger(address, folder, **knows)[-1].startswith("joined")
        for guess in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
            assert not stranger(address, folder, **guess)[-1].startswith("joined")
        if os.getuid() == 0:
            assert (
                stranger(address, folder, NOBODY, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)[:3]
                == ["PermissionError"] * 3
            )

        ours = {*processes(folder), os.getpid()}
        addresses = [local for local, pid in listening() if pid in ours]
        assert f"{int(address.rsplit(':', 1)[1]):04X}" in {one.rsplit(":", 1)[1] for one in addresses}
        assert {one.rsplit(":", 1)[0] for one in addresses} <= LOOPBACK, addresses
    finally:
        cluster.disconnect()
    assert list(temporary.iterdir()) == [] and left(temporary) == []


def settings() -> dict[str, str]:
    """Ray's variables of this process."""
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_")}


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same in IPv6, and ::1, as Linux writes them."""


def listening() -> list[tuple[str, int]]:
    """Addresses that processes listen on, as Linux writes them, with the processes."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                sockets[f"socket:[{fields[9]}]"] = fields[1]
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = [os.readlink(one) for one in (process / "fd").iterdir()]
        except OSError:
            continue
        found += [(sockets[link], int(process.name)) for link in links if link in sockets]
    return found


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_killed_as_the_cluster_starts_keeps_no_run(tiny_data, tmp_path, signum):
    with tempfile.TemporaryDirectory(prefix="wsl-") as short:
        command = ("run", tiny_data / "tiny.yaml", "runtime.executor=ray", "-q", "--out", tmp_path / "run")
        run = Run(command, tmp_path / "log", Path(short))
        while (worker := run.target("worker", 0)) is None:
            assert run.process.poll() is None
            time.sleep(0.005)
        os.kill(worker, signum)
        try:
            assert run.process.wait(90) == 0, (tmp_path / "log").read_text()
        finally:
            assert run.end() == []
