"""Any process of a run killed or stopped at a random moment: nothing committed changes, nothing is left behind."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.classify.network import Network
from tests.runs import commits, files, start, wsl, wsl_here
from tests.stages.toys import tiny_network

pytestmark = pytest.mark.slow

IMAGES = 160
SEED = 0
TARGETS = ["driver", "raylet", "gcs", "worker", "agent"]
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGSTOP]
ROUNDS = 3
"""Kills of each pair of target and signal."""
ALL = pytest.mark.skipif("WSL_ALL_KILLS" not in os.environ, reason="a quarter of the kills by default: WSL_ALL_KILLS=1")
PAUSE = 5.0
"""Seconds that a driver is stopped."""
PATIENCE = 120.0
"""Seconds after a signal within which a run must have ended."""
GRACE = 10.0
"""Seconds after the end of a run within which everything that it started must be gone."""


class Slow(torch.nn.Module):
    """A network that leaves time to be killed in."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.features, self.fc = module.features, module.fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 7) logits, after a while."""
        time.sleep(0.04)
        return self.fc(self.features(x).mean((2, 3)))


def slow_network() -> Network:
    """For ``python:tests.faults.test_random_kills:slow_network``."""
    network = tiny_network()
    return Network(Slow(network.module).eval(), network.classes, network.preprocess)


@dataclass(frozen=True)
class Kill:
    """A signal to one process of a run.

    Attributes:
        target: Kind of process.
        signum: The signal.
        commits: Commits of this run to wait for; 0 is before the first, as soon as the process is there.
        delay: Seconds to wait then.
        which: Which process of that kind, as a share of their number.
    """

    target: str
    signum: signal.Signals
    commits: int
    delay: float
    which: float

    def __str__(self) -> str:
        return f"{self.signum.name} to {self.target} {self.delay:.2f} s after {self.commits} commits"


def kills(quarter: int) -> list[Kill]:
    """A quarter of all: three of each target, at random moments; all quarters have every kind equally often."""
    generator = random.Random(SEED)
    signals = {target: [one for _ in range(ROUNDS) for one in generator.sample(SIGNALS, 4)] for target in TARGETS}
    generator = random.Random(SEED + quarter)
    found = []
    for target in TARGETS:
        for signum in signals[target][quarter * ROUNDS :][:ROUNDS]:
            count = generator.choice([0] * 4 + list(range(1, 13)))
            delay = generator.uniform(0, 0.2 if count else 5)
            found.append(Kill(target, signum, count, delay, generator.random()))
    generator.shuffle(found)
    return found


@dataclass(frozen=True)
class Process:
    """A living process."""

    pid: int
    command: str

    @property
    def kind(self) -> str:
        """Which of :data:`TARGETS` it is, if it is no driver; whatever helps Ray is an agent."""
        if self.command.startswith(("ray::DashboardAgent", "ray::RuntimeEnvAgent")):
            return "agent"
        program = self.command.split("\0", 1)[0]
        names = {"/raylet": "raylet", "/gcs_server": "gcs"}
        named = next((kind for ending, kind in names.items() if program.endswith(ending)), None)
        working = program.startswith("ray::") or "/workers/" in self.command
        return named or ("worker" if working else "agent")


class Run:
    """The command as a process, whose children are known by their session or their folder for temporary files.

    Args:
        command: Its arguments.
        log: File for what it says.
    """

    def __init__(self, command: tuple[object, ...], log: Path) -> None:
        self.temporary = Path(os.environ["TMPDIR"])
        with log.open("w") as said:
            self.process = start(*command, stdout=said, stderr=said)

    def processes(self) -> list[Process]:
        """Those that the command has started and that live."""
        mark, found = str(self.temporary).encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                after = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                state, session = after[0], int(after[3])
                command = (folder / "cmdline").read_bytes()
                ours = session == self.process.pid or mark in command or mark in (folder / "environ").read_bytes()
            except OSError:
                continue
            if ours and state not in "ZX" and int(folder.name) != self.process.pid:
                found.append(Process(int(folder.name), command.decode(errors="replace")))
        return sorted(found, key=lambda one: one.pid)

    def target(self, kill: Kill) -> int | None:
        """The process that a signal goes to, if it is there."""
        if kill.target == "driver":
            return self.process.pid
        found = [one for one in self.processes() if one.kind == kill.target]
        return found[int(kill.which * len(found))].pid if found else None

    def suffer(self, kill: Kill, out: Path) -> int:
        """Send the signal when it is due; the process that got it."""
        goal = min(len(commits(out)) + kill.commits, IMAGES - 4)
        while len(commits(out)) < goal or self.target(kill) is None:
            assert self.process.poll() is None, f"ended before its {kill}"
            time.sleep(0.005)
        time.sleep(kill.delay)
        pid = self.target(kill)
        os.kill(pid, kill.signum)
        if kill.target == "driver" and kill.signum == signal.SIGSTOP:
            time.sleep(PAUSE)
            os.kill(pid, signal.SIGCONT)
        return pid

    def leftovers(self) -> list[str]:
        """Processes and temporary files that are still there after the grace; nothing is afterwards."""
        last = time.monotonic() + GRACE
        while (found := self._traces()) and time.monotonic() < last:
            time.sleep(0.1)
        for one in self.processes():
            os.kill(one.pid, signal.SIGKILL)
        for path in self.temporary.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return found

    def _traces(self) -> list[str]:
        return [one.command.replace("\0", " ") for one in self.processes()] + [
            str(path) for path in self.temporary.iterdir()
        ]


@pytest.fixture
def temporary(monkeypatch):
    """An empty folder for the temporary files of runs; not pytest's own, whose name is too long for Ray's sockets."""
    folder = tempfile.mkdtemp(prefix="wsl-")
    monkeypatch.setenv("TMPDIR", folder)
    yield
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The configuration of a run of :data:`IMAGES` shards."""
    folder = tmp_path_factory.mktemp("kills")
    root = folder / "photos" / "class 3"
    root.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(IMAGES):
        Image.fromarray(generator.integers(0, 200, (40, 40, 3), dtype=np.uint8)).save(root / f"{number:04}.png")
    (folder / "kills.yaml").write_text(
        "data: {format: imagefolder, root: photos}\n"
        f'model: {{spec: "python:{__name__}:slow_network"}}\n'
        "explain: {targets: [top1]}\n"
        "runtime: {executor: ray, shard_size: 1, workers: 2, timeout: 20}\n"
    )
    return folder / "kills.yaml"


@pytest.fixture(scope="module")
def calm(config, tmp_path_factory):
    """The files of a run that nothing disturbed, in one process."""
    out = tmp_path_factory.mktemp("calm") / "run"
    assert wsl("run", config, "--executor", "inline", "-q", "--out", out).returncode == 0
    return files(out)


ENDINGS = {
    ("driver", signal.SIGKILL): (-signal.SIGKILL,),
    ("driver", signal.SIGTERM): (143,),
    ("driver", signal.SIGHUP): (129,),
    ("driver", signal.SIGSTOP): (0,),
    **{("worker", signum): (0,) for signum in SIGNALS},
}
"""Exit codes; after all other kills 0, or 1 where the run cannot go on without the process."""


def parts(out: Path) -> dict[str, bytes]:
    """The committed parts."""
    return {path.name: path.read_bytes() for path in commits(out)}


def finish(config: Path, out: Path, calm: dict[str, bytes]) -> None:
    """Resume a run, undisturbed; what comes of it is the calm one."""
    resumed = wsl("run", config, "-q", "--out", out)
    assert resumed.returncode == 0, resumed.stderr
    assert files(out) == calm
    assert wsl_here("verify", out).returncode == 0


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("quarter", [0, *(pytest.param(number, marks=ALL) for number in range(1, 4))])
def test_nothing_is_lost_changed_or_left_behind(config, calm, temporary, tmp_path, quarter):
    out, faults = tmp_path / "0", []
    for kill in kills(quarter):
        before, begun = commits(out), time.monotonic()
        log = tmp_path / f"{kill}.log"
        run = Run(("run", config, "-q", "--out", out), log)
        try:
            run.suffer(kill, out)
            committed, hit = parts(out), time.monotonic()
            code = run.process.wait(PATIENCE)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            code = str(error)
        ended, said = time.monotonic(), log.read_text()
        run.process.kill()
        left = run.leftovers()
        print(f"{kill}: hit after {hit - begun:.0f} s, exit code {code} after {ended - hit:.1f} s, {len(left)} left")
        if not before.items() <= commits(out).items():
            faults.append(f"{kill}: finished shards are computed again")
        if not committed.items() <= parts(out).items():
            faults.append(f"{kill}: committed parts differ")
        if code not in ENDINGS.get((kill.target, kill.signum), (0, 1)) or "Traceback" in said:
            faults.append(f"{kill}: exit code {code}\n{said[-2000:]}")
        if left:
            faults.append(f"{kill}: left behind {left}")
        if code == 0 or len(commits(out)) > IMAGES - 20:
            finish(config, out, calm)
            out = tmp_path / str(int(out.name) + 1)
    finish(config, out, calm)
    assert not faults, "\n".join(faults)
