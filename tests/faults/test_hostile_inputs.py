"""What strangers can hand to a run beside images: configurations, checkpoints, directories. Data, never code."""

from __future__ import annotations

import os
import socket

import pytest

from pipeline.commands.run import run
from pipeline.config.history import config_hash
from pipeline.config.load import load_config
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError
from tests.runs import wsl

TOUCH = "!!python/object/apply:os.system ['touch {}']"


def test_yaml_runs_no_code(tiny, tiny_data, tmp_path):
    mark = tmp_path / "ran"
    evil = TOUCH.format(mark)
    (tmp_path / "evil.yaml").write_text(f"data: {evil}\n")
    with pytest.raises(ConfigurationError, match=r"evil\.yaml: not valid YAML"):
        load_config(str(tmp_path / "evil.yaml"), [])
    with pytest.raises(ConfigurationError, match="seed: not valid YAML"):
        load_config(str(tiny_data / "tiny.yaml"), [f"seed={evil}"])
    out = RunDir.open(tmp_path / "run", tiny())
    out.write("manifest.parquet", b"")
    out.write("config.yaml", f"data: {evil}\n".encode())
    with pytest.raises(ConfigurationError, match=r"config\.yaml is damaged"):
        RunDir.open(tmp_path / "run", tiny())
    assert not mark.exists()


@pytest.mark.timeout(30)
def test_yaml_that_unfolds_to_gigabytes_is_one_short_line(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (tmp_path / "bomb.yaml").write_text("\n".join([*lines, "data: {format: *a11}"]))
    with pytest.raises(ConfigurationError) as caught:
        load_config(str(tmp_path / "bomb.yaml"), [])
    assert len(str(caught.value)) < 1000


@pytest.mark.slow
def test_a_run_opens_no_connection(tiny, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a run on local files asked the network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse, raising=True)
    assert run(tiny("data.limit=5"), tmp_path / "run")["n_images"] == 5


@pytest.mark.slow
def test_ray_sends_no_usage_statistics():
    prelude = """
import os
os.environ.pop("RAY_USAGE_STATS_ENABLED", None)
import pipeline.engine.executors.ray
from ray._common.usage.usage_lib import usage_stats_enabled
assert not usage_stats_enabled()
"""
    done = wsl("version", prelude=prelude)
    assert done.returncode == 0, done.stderr


def test_credentials_in_the_environment_stay_there(tiny, tmp_path, monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "a-secret-of-the-user")
    before = config_hash(tiny())
    run(tiny("data.limit=5"), tmp_path / "run")
    monkeypatch.undo()
    assert config_hash(tiny()) == before
    for folder, _, names in os.walk(tmp_path / "run"):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert b"a-secret-of-the-user" not in file.read()


@pytest.mark.slow
def test_a_command_in_a_name_or_value_is_text(tiny, tiny_data, tmp_path):
    out = tmp_path / "$(touch ran); `touch ran`"
    done = wsl("run", tiny_data / "tiny.yaml", "data.limit=3", "-q", "--out", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
