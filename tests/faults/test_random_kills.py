"""Any process of a run killed or stopped at a random moment: nothing committed changes, nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stages.classify.network import Network
from tests.faults.processes import TARGETS, Run
from tests.repetitions import ALL
from tests.runs import commits, files, wsl, wsl_here
from tests.stages.toys import tiny_network

pytestmark = pytest.mark.slow

IMAGES = 160
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGSTOP]
ROUNDS = 3
"""Kills of each pair of target and signal."""
SEED = 0
LANES = 2
"""Runs at once: they wait for most of their time."""
PAUSE = 5.0
"""Seconds that a driver is stopped."""
PATIENCE = 240.0
"""Seconds after a signal within which a run must have ended."""
ENDINGS = {
    ("driver", signal.SIGKILL): (-signal.SIGKILL,),
    ("driver", signal.SIGTERM): (143,),
    ("driver", signal.SIGHUP): (129,),
    ("driver", signal.SIGSTOP): (0,),
    **{("worker", signum): (0,) for signum in SIGNALS},
}
"""Exit codes; after other kills 0, 1 where a run cannot go on without the process, or 2 where Ray does not start."""


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
        share: Which process of that kind.
    """

    target: str
    signum: signal.Signals
    commits: int
    delay: float
    share: float

    def __str__(self) -> str:
        return f"{self.signum.name} to {self.target} {self.delay:.2f} s after {self.commits} commits"

    def send(self, run: Run, out: Path) -> None:
        """Send it when it is due; a stopped driver is continued after a pause."""
        # Counted in commits, so that a slow machine meets the same moments; the last shards are over too soon.
        goal = min(len(commits(out)) + self.commits, IMAGES - 4)
        while len(commits(out)) < goal or run.target(self.target, self.share) is None:
            assert run.process.poll() is None, "it ended before"
            time.sleep(0.005)
        time.sleep(self.delay)
        pid = run.target(self.target, self.share)
        assert pid is not None and run.process.poll() is None, "it ended before"
        os.kill(pid, self.signum)
        if self.target == "driver" and self.signum == signal.SIGSTOP:
            time.sleep(PAUSE)
            os.kill(pid, signal.SIGCONT)


def kills(quarter: int) -> list[Kill]:
    """A quarter of all: three of each target, at random moments; all quarters have every pair equally often."""
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


class Chain:
    """Runs of one command, each of which resumes what the one before has left, or begins anew behind a complete one.

    Args:
        config: The configuration.
        calm: The files of a run that nothing disturbed.
        folder: For the run directories and what is said.
        temporary: An empty folder for temporary files.

    Attributes:
        complete: The complete runs.
        faults: What is wrong.
    """

    def __init__(self, config: Path, calm: dict[str, bytes], folder: Path, temporary: Path) -> None:
        self.config, self.calm, self.folder, self.temporary = config, calm, folder, temporary
        self.complete: list[Path] = []
        self.faults: list[str] = []
        folder.mkdir()
        temporary.mkdir()

    @property
    def out(self) -> Path:
        """The run directory now."""
        return self.folder / str(len(self.complete))

    def suffer(self, kills: list[Kill]) -> None:
        """A run for each kill, and one without."""
        for kill in kills:
            self._suffer(kill)
        self._finish()

    def _suffer(self, kill: Kill) -> None:
        before, begun = commits(self.out), time.monotonic()
        log = self.folder / f"{kill}.log"
        run = Run(("run", self.config, "-q", "--out", self.out), log, self.temporary)
        committed, hit = {}, begun
        code: int | str
        try:
            kill.send(run, self.out)
            committed, hit = _parts(self.out), time.monotonic()
            code = run.process.wait(PATIENCE)
        except (AssertionError, ProcessLookupError, subprocess.TimeoutExpired) as error:
            code = str(error)
        took, left = time.monotonic() - hit, run.end()
        said = log.read_text()  # Where Ray has ended the driver, another process says so a moment later.
        print(f"{kill}: sent at {hit - begun:.0f} s, exit code {code} after {took:.1f} s, {len(left)} left", flush=True)
        checks = {
            "finished shards are computed again": before.items() <= commits(self.out).items(),
            "committed parts differ": committed.items() <= _parts(self.out).items(),
            f"exit code {code}\n{said[-2000:]}": code in ENDINGS.get((kill.target, kill.signum), (0, 1, 2)),
            f"a trace: {said}": "Traceback" not in said,
            f"no reason for exit code {code}: {said[-2000:]}": self._told(code, said),
            f"left behind: {left}": not left,
        }
        self.faults += [f"{self.folder.name} {kill}: {what}" for what, holds in checks.items() if not holds]
        if code == 0:
            self._check()
        elif len(commits(self.out)) > IMAGES - 20:
            self._finish()

    def _told(self, code: int | str, said: str) -> bool:
        """Whether the end of a run that had to give up is explained, once."""
        reasons = [line for line in said.splitlines() if line.startswith("error: ")]
        if code == -signal.SIGKILL:  # Another process says it, once there is one.
            return len(reasons) <= 1
        return len(reasons) == (code in (1, 2))

    def _finish(self) -> None:
        resumed = wsl("run", self.config, "-q", "--out", self.out, environment={"TMPDIR": str(self.temporary)})
        self.faults += [f"resumed: {resumed.stderr}"] if resumed.returncode else []
        self._check()

    def _check(self) -> None:
        found, out = files(self.out), self.out
        self.faults += [f"{out}: {name}" for name in self.calm | found if self.calm.get(name) != found.get(name)]
        self.complete.append(out)


def _parts(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in commits(out)}


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
        "runtime: {executor: ray, shard_size: 1, workers: 2, timeout: 60}\n"
    )
    return folder / "kills.yaml"


@pytest.fixture(scope="module")
def calm(config, tmp_path_factory):
    """The files of a run that nothing disturbed, in one process."""
    out = tmp_path_factory.mktemp("calm") / "run"
    assert wsl("run", config, "--executor", "inline", "-q", "--out", out).returncode == 0
    return files(out)


FEW = [
    Kill(target, signum, 2, 0.05, 0.5)
    for target, signum in zip(TARGETS, [*SIGNALS[:3], *SIGNALS[:2]], strict=True)  # Stopped ones: test_stopped.
]
"""One for each kind of process."""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "chosen",
    [pytest.param(FEW, id="few"), *(pytest.param(kills(one), id=f"quarter {one}", marks=ALL) for one in range(4))],
)
def test_nothing_is_lost_changed_or_left_behind(config, calm, tmp_path, chosen):
    # Not in pytest's own folder, whose name is too long for Ray's sockets.
    with tempfile.TemporaryDirectory(prefix="wsl-") as short, ThreadPoolExecutor(LANES) as pool:
        chains = [Chain(config, calm, tmp_path / str(lane), Path(short, str(lane))) for lane in range(LANES)]
        list(pool.map(lambda chain, lane: chain.suffer(chosen[lane::LANES]), chains, range(LANES)))
    for chain in chains:
        assert not chain.faults, "\n".join(chain.faults)
        assert all(wsl_here("verify", out).returncode == 0 for out in chain.complete)
