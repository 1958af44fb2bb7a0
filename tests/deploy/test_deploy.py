"""The ways to start a run: files that parse, fit the installed versions, and start commands that exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
import yaml
from typer.testing import CliRunner

from pipeline.shell.cli import app
from tests.deploy import DEPLOY

JOB = yaml.safe_load((DEPLOY / "kuberay" / "rayjob.yaml").read_text())
CLUSTER = yaml.safe_load((DEPLOY / "ray" / "cluster.yaml").read_text())
SBATCH = (DEPLOY / "slurm" / "run.sbatch").read_text()
README = (DEPLOY / "README.md").read_text()


def commands() -> dict[str, list[str]]:
    """The arguments of every ``wsl-pipeline`` that the files and their README start."""
    sbatch = re.search(r"^# sbatch deploy/slurm/run\.sbatch (.+)$", SBATCH, re.MULTILINE)
    assert sbatch and 'wsl-pipeline run "$@"' in SBATCH
    found = {"rayjob": JOB["spec"]["entrypoint"], "sbatch": f"wsl-pipeline run {sbatch[1]}"}
    for number, line in enumerate(re.findall(r"(?:wsl-pipeline:c\w+ |=auto )(wsl-pipeline run [^`\"]+)", README)):
        found[f"readme-{number}"] = line
    return {name: shlex.split(line)[1:] for name, line in found.items()}


@pytest.mark.parametrize("name", commands())
def test_every_command_is_understood_by_the_command_line(name, tmp_path):
    """A dry run gets as far as the data, which are not here: options, name and keys are right, exit code 3."""
    arguments = [re.sub(r"^(data\.root=).+", rf"\1{tmp_path / 'absent'}", one) for one in commands()[name]]
    assert any(one.startswith("data.root=") for one in arguments)
    arguments[arguments.index("--out") + 1] = str(tmp_path / "out")  # no store is asked
    done = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert type(done.exception).__name__ == "DataError" and "absent" in str(done.exception)


def test_there_are_as_many_commands_as_ways():
    assert len(commands()) == 4


def test_strangers_do_not_reach_the_ports():
    assert "RAY_AUTH_MODE=token" in SBATCH and "RAY_AUTH_TOKEN_PATH" in SBATCH and "umask 077" in SBATCH
    assert any("RAY_AUTH_MODE=token" in one for one in CLUSTER["docker"]["run_options"])
    head = " ".join(CLUSTER["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head
    from ray._private.authentication import authentication_token_setup as setup

    assert setup.AUTH_MODE_ENV_VAR == "RAY_AUTH_MODE"


def test_the_cluster_file_follows_rays_own_schema():
    jsonschema = pytest.importorskip("jsonschema")
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(CLUSTER, json.loads(schema.read_text()))
    types = CLUSTER["available_node_types"]
    assert CLUSTER["head_node_type"] in types and types["head"]["resources"] == {"CPU": 0}
    docker = CLUSTER["docker"]
    assert "@sha256:" in docker["image"] and any(one.startswith("--shm-size=") for one in docker["run_options"])


def test_the_batch_script_is_a_shell_script_for_commands_that_this_ray_has(tmp_path):
    script = DEPLOY / "slurm" / "run.sbatch"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    directives = set(re.findall(r"^#SBATCH (--[\w-]+)", SBATCH, re.MULTILINE))
    assert {"--requeue", "--exclusive", "--ntasks-per-node"} <= directives
    # Only its help: at its end it stops every Ray on the machine.
    shown = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "symmetric-run", "--help"], capture_output=True, text=True
    )
    assert shown.returncode == 0
    for option in re.findall(r"symmetric-run (.+?) -- ", SBATCH.replace("\\\n", ""))[0].split():
        if option.startswith("--") and option not in ("--num-cpus", "--num-gpus"):
            assert option in shown.stdout


def test_the_batch_script_passes_the_signal_before_the_limit_on(tmp_path):
    assert re.search(r"^#SBATCH --signal=B:TERM@\d+$", SBATCH, re.MULTILINE)
    commands = {
        "scontrol": "echo localhost",
        "srun": "touch started; until [ -e told ]; do sleep 0.1; done; sleep 0.5; touch committed; exit 143",
        "pkill": 'touch told; echo "$@" >signal',
    }
    for name, body in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "localhost"}
    job |= {"SLURM_NNODES": "1", "SLURM_CPUS_ON_NODE": "1", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = subprocess.Popen(
        ["bash", DEPLOY / "slurm" / "run.sbatch", "photos"], cwd=tmp_path, env={**os.environ, **job}
    )
    while not (tmp_path / "started").exists():
        time.sleep(0.05)
    script.terminate()
    assert script.wait(30) == 143
    assert (tmp_path / "committed").exists(), "the script does not end before what it waits for"
    assert "-TERM -x" in (tmp_path / "signal").read_text() and "wsl-pipeline" in (tmp_path / "signal").read_text()
    assert not list(tmp_path.glob(".ray-token-*"))
