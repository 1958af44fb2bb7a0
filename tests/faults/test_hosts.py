"""Hosts with a network between them, of which one dies and one loses its cable. Needs root: network namespaces."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.faults.toys import begin, undisturbed
from tests.runs import files

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and iproute2"),
]

IMAGES, SIZE = 240, 8
PREFIX = f"wsl-{os.getpid()}"
DRIVER = """
import sys
from pathlib import Path
from pipeline.engine.executors import ray as executor
from pipeline.store.manifest import cut_into_shards
from pipeline.store.rundir import RunDir
from tests.faults.test_hosts import IMAGES, SIZE
from tests.faults.toys import job, toy_plan

run = RunDir(Path(sys.argv[1]))
for report in executor.execute(toy_plan(0.5), cut_into_shards(IMAGES, SIZE), job(run), None, lambda: None):
    print("shard", report.shard, flush=True)
    sys.stdin.readline()  # goes on when the test lets it
"""


class Hosts:
    """Namespaces at one bridge, each with Ray's processes of a node of its own; the first is the head."""

    def __init__(self, folder: str) -> None:
        self.names: list[str] = []
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "of-this-test-alone-0123456789abcdef",
            # A host that is gone is missed in seconds.
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_timeout_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
            "RAY_grpc_client_keepalive_time_ms": "1000",
            "RAY_grpc_client_keepalive_timeout_ms": "2000",
        }
        self.folder = folder
        _ip("netns", "add", f"{PREFIX}-net")
        _ip("-n", f"{PREFIX}-net", "link", "add", "bridge", "type", "bridge")
        _ip("-n", f"{PREFIX}-net", "link", "set", "bridge", "up")

    def add(self) -> str:
        """Plug in one more host and start Ray on it."""
        number = len(self.names) + 1
        name = f"{PREFIX}-{number}"
        self.names.append(name)
        cable, address = f"cable{number}", f"10.77.0.{number}"
        _ip("netns", "add", name)
        _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", cable, "netns", f"{PREFIX}-net")
        _ip("-n", f"{PREFIX}-net", "link", "set", cable, "master", "bridge", "up")
        _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", name, "link", "set", device, "up")
        node = ["--head", "--port=6379", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={self.folder}"]
        if number > 1:
            node = ["--address=10.77.0.1:6379", "--num-cpus=2", "--num-gpus=1"]
        self.run(
            name,
            *("-m", "ray.scripts.scripts", "start", f"--node-ip-address={address}", *node),
            *("--object-store-memory=100000000", "--disable-usage-stats"),
        )
        return name

    def start(self, host: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
        """Python on a host."""
        command = ["ip", "netns", "exec", host, sys.executable, *arguments]
        return subprocess.Popen(command, env=self.environment, text=True, **options)

    def run(self, host: str, *arguments: str) -> None:
        """The same, waited for; what it starts holds no pipe of this process."""
        process = self.start(host, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert process.wait(120) == 0, arguments

    def unplug(self, host: str) -> None:
        """Its processes go on, and reach nobody."""
        _ip("-n", f"{PREFIX}-net", "link", "set", f"cable{self.names.index(host) + 1}", "down")

    def kill(self, host: str) -> None:
        """All that runs there ends at once."""
        for process in _ip("netns", "pids", host).split():
            os.kill(int(process), signal.SIGKILL)

    def close(self) -> None:
        """Leave nothing behind."""
        for name in self.names:
            self.kill(name)
            _ip("netns", "delete", name)
        _ip("netns", "delete", f"{PREFIX}-net")


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def hosts(tmp_path_factory) -> Iterator[Hosts]:
    # Ray's sockets stand in this folder, and the names of sockets are short.
    found = Hosts(f"/tmp/{PREFIX}")
    try:
        yield found
    finally:
        found.close()
        shutil.rmtree(f"/tmp/{PREFIX}", ignore_errors=True)


def test_a_host_dies_and_one_loses_its_cable(hosts, tmp_path):
    head, first, second = hosts.add(), hosts.add(), hosts.add()
    run = begin(tmp_path / "run", IMAGES)
    hosts.environment["RAY_ADDRESS"] = "10.77.0.1:6379"
    driver = hosts.start(head, "-c", DRIVER, str(run.path), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    shards = _next(driver, 6)
    hosts.kill(first)
    hosts.add()
    shards += _next(driver, 6)
    hosts.unplug(second)
    hosts.add()
    shards += _next(driver, IMAGES // SIZE - 12)
    assert driver.wait(60) == 0
    assert sorted(shards) == list(range(IMAGES // SIZE))
    run.clean()  # as before a run is finalized
    assert files(run.path) == files(undisturbed(tmp_path / "calm", IMAGES, SIZE).path)


def _next(driver: subprocess.Popen[str], count: int) -> list[int]:
    """The next shards that are committed; Ray says of dead nodes what it thinks between them."""
    assert driver.stdin and driver.stdout
    shards: list[int] = []
    for line in iter(driver.stdout.readline, ""):
        if line.startswith("shard "):
            shards.append(int(line.split()[1]))
            driver.stdin.write("\n")
            driver.stdin.flush()
        if len(shards) == count:
            return shards
    raise AssertionError(f"the driver ended after {len(shards)} of {count}")
