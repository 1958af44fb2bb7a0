"""Ray where it cannot be had: one line that names the reason and the way out, in reasonable time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time

import pytest

from pipeline.engine.executors import reach
from pipeline.engine.executors.cluster import connect
from stages.errors import ConfigurationError
from tests.repetitions import ALL
from tests.runs import start, wsl

pytestmark = pytest.mark.slow  # Ray takes seconds to start, and longer to give up

RAY = "runtime.executor=ray"
DEAD = "127.0.0.1:1"


def refused(result, *words):
    lines = result.stderr.splitlines()
    assert result.returncode == 2 and len(lines) == 1 and lines[0].startswith("error: runtime.executor ray: ")
    assert all(word in lines[0] for word in words), lines
    return lines[0]


@pytest.mark.parametrize("address", [DEAD, pytest.param("10.255.255.1:6379", marks=ALL), "no-such-host.invalid:6379"])
def test_a_dead_address_is_announced_and_given_up(tiny_data, tmp_path, monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    # The imports, which take their time on a busy machine, are not measured.
    ready = "import sys, torch, pipeline.commands.run, pipeline.engine.executors.ray; print('ready', file=sys.stderr)"
    out = tmp_path / "a" / "run"
    process = start("run", tiny_data / "tiny.yaml", RAY, "--out", out, prelude=ready, stderr=subprocess.PIPE)
    assert process.stderr.readline() == "ready\n"
    began = time.monotonic()
    lines = [(time.monotonic() - began, line) for line in process.stderr]
    assert process.wait() == 2 and time.monotonic() - began < 60
    assert lines[0][0] < 15 and re.match(
        f"waiting up to .. s for the Ray cluster at RAY_ADDRESS={address}", lines[0][1]
    )
    assert len(lines) == 2 and f"the cluster at RAY_ADDRESS={address} " in lines[1][1]
    assert lines[1][1].startswith("error: ") and "use --executor inline" in lines[1][1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["nonsense", "host:port", "http://127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_that_is_none_is_one_line(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigurationError, match=f"RAY_ADDRESS={address} .*unset RAY_ADDRESS") as caught:
        connect()
    assert "\n" not in str(caught.value)


def test_what_answers_but_is_no_cluster_is_given_up(monkeypatch):
    import socket

    monkeypatch.setattr(reach, "PATIENCE", 6.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match=rf"RAY_ADDRESS={address} does not answer within 6 s; correct or"):
            reach.check_reachable(address)


def test_ctrl_c_ends_the_wait(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", DEAD)
    process = start("run", tiny_data / "tiny.yaml", RAY, "--out", tmp_path / "run", stderr=subprocess.PIPE)
    assert "waiting" in process.stderr.readline()
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.stderr.read() and process.wait() == 130
    assert time.monotonic() - asked < 5 and children
    assert not any(os.path.exists(f"/proc/{child}") for child in children)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "options"), [("RAY_TMPDIR", ()), ("TMPDIR", ("--dry-run",))])
def test_a_folder_too_long_for_a_socket_is_named(tiny_data, tmp_path, monkeypatch, name, options):
    folder = tmp_path / ("long-name-" * 10)
    folder.mkdir()
    for other in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, str(folder))
    result = wsl("run", tiny_data / "tiny.yaml", RAY, "--out", tmp_path / "run", *options)
    refused(result, f"{name}={folder} is too long for the names of Ray's sockets", "set RAY_TMPDIR to a shorter folder")
    assert not (tmp_path / "run").exists()


def test_a_raylet_that_dies_as_it_starts_is_one_line(tiny_data, tmp_path):
    # It cannot make its object store: no file may be longer than a mebibyte.
    small = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    result = wsl("run", tiny_data / "tiny.yaml", RAY, "--out", tmp_path / "run", prelude=small)
    refused(result, "cannot start a local cluster: ", "raylet", "use --executor inline")
    assert not (tmp_path / "run").exists()


def test_a_temporary_folder_that_is_none_is_one_line(tiny_data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "file"))
    refused(wsl("run", tiny_data / "tiny.yaml", RAY, "--out", tmp_path / "run"), "Not a directory", "--executor inline")


def test_a_dry_run_ends_the_cluster_that_it_tried(tiny, tmp_path):
    import ray

    from pipeline.commands.run import preview

    assert preview(tiny(RAY), tmp_path / "run")["images"] == 23
    assert not ray.is_initialized() and list(tmp_path.iterdir()) == []
