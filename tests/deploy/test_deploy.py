"""Every file of ``deploy/`` parses, fits the installed versions, and starts commands that exist. Nothing is started."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import ray
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from pipeline.shell.cli import app

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
JOB, POLICY = yaml.safe_load_all((DEPLOY / "kuberay" / "rayjob.yaml").read_text())
CLUSTER = yaml.safe_load((DEPLOY / "ray" / "cluster.yaml").read_text())
SBATCH = (DEPLOY / "slurm" / "run.sbatch").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (DEPLOY / "README.md").read_text()


def pods() -> dict[str, dict]:
    spec = JOB["spec"]["rayClusterSpec"]
    groups = {"head": spec["headGroupSpec"]} | {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    return {name: group["template"] for name, group in groups.items()} | {
        "submitter": JOB["spec"]["submitterPodTemplate"]
    }


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
    arguments = [
        f"data.root={tmp_path / 'absent'}" if one.startswith("data.root=") else one for one in commands()[name]
    ]
    assert "--out" in arguments and any(one.startswith("data.root=") for one in arguments)
    done = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert type(done.exception).__name__ == "DataError" and "absent" in str(done.exception)


def test_there_are_as_many_commands_as_ways():
    assert len(commands()) == 4


def test_the_job_is_of_the_api_and_the_ray_that_are_installed():
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    spec = JOB["spec"]
    assert spec["backoffLimit"] >= 1 and spec["shutdownAfterJobFinishes"]
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == ray.__version__ == version("ray")
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_requests_are_limits_and_no_pod_is_root():
    gpus = 0
    for name, pod in pods().items():
        for container in pod["spec"]["containers"]:
            resources = container["resources"]
            assert resources["requests"] == resources["limits"], name
            assert {"cpu", "memory"} <= set(resources["limits"])
            assert container["securityContext"]["runAsNonRoot"] and container["image"].startswith("wsl-pipeline:")
            has_gpu = "nvidia.com/gpu" in resources["limits"]
            assert has_gpu == (name == "gpu") == container["image"].endswith(":cuda")
            gpus += has_gpu
            mounts = {one["name"] for one in container.get("volumeMounts", [])}
            assert mounts == {one["name"] for one in pod["spec"].get("volumes", [])}
    assert gpus == 1 and {"gpu", "cpu"} <= set(pods())


def test_strangers_do_not_reach_the_ports():
    assert (POLICY["apiVersion"], POLICY["kind"]) == ("networking.k8s.io/v1", "NetworkPolicy")
    selected = POLICY["spec"]["podSelector"]["matchLabels"]
    assert all(selected.items() <= pod["metadata"]["labels"].items() for pod in pods().values())
    peers = [peer for rule in POLICY["spec"]["ingress"] for peer in rule["from"]]
    assert peers and all("podSelector" in peer and peer["podSelector"] for peer in peers)
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


def test_the_dockerfile_builds_from_what_is_here():
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    assert {name for name, _ in lines} <= {"FROM", "ARG", "ENV", "RUN", "COPY", "USER", "WORKDIR", "CMD"}
    python = next(rest for name, rest in lines if name == "FROM").partition(":")[2].partition("-")[0]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
    for rest in (rest for name, rest in lines if name == "COPY"):
        *sources, _ = rest.split()
        assert all((ROOT / source).exists() for source in sources)
    order = [name for name, _ in lines]
    assert "USER" in order and order.index("USER") > max(i for i, name in enumerate(order) if name == "RUN")
    assert next(rest for name, rest in lines if name == "USER") != "root"
    assert json.loads(next(rest for name, rest in lines if name == "CMD"))[0] == "wsl-pipeline"


def test_constraints_are_exact_and_satisfy_the_project():
    lines = [line for line in (DEPLOY / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {}
    for requirement in map(Requirement, lines):
        (only,) = requirement.specifier
        assert only.operator == "==" and not only.version.endswith("*")
        pins[canonicalize_name(requirement.name)] = only.version
    extras = PROJECT["optional-dependencies"]
    for requirement in map(Requirement, [*PROJECT["dependencies"], *extras["demo"], *extras["timm"]]):
        pin = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin), requirement
    assert pins["ray"] == JOB["spec"]["rayClusterSpec"]["rayVersion"]
