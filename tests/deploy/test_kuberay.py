"""The objects for Kubernetes: known fields, nothing privileged, known ways in and out, images by digest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version

import pytest
import ray
import yaml

from tests.deploy import DEPLOY, ROOT

KUBERAY = DEPLOY / "kuberay"
OBJECTS = {one["kind"]: one for path in sorted(KUBERAY.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())}
JOB = OBJECTS["RayJob"]["spec"]
CLUSTER = JOB["rayClusterSpec"]
KUSTOMIZATION = OBJECTS["Kustomization"]
RAY_PODS = {"head": CLUSTER["headGroupSpec"]["template"]} | {
    group["groupName"]: group["template"] for group in CLUSTER["workerGroupSpecs"]
}
PODS = RAY_PODS | {"submitter": JOB["submitterPodTemplate"]}
GIB = 2**30


def separate_mounts() -> bool:
    return bool(shutil.which("unshare")) and subprocess.run(["unshare", "--mount", "true"]).returncode == 0


def gib(quantity: str) -> int:
    assert quantity.endswith("Gi")
    return int(quantity[:-2]) * GIB


def test_the_job_is_of_the_api_and_the_ray_that_are_installed():
    assert OBJECTS["RayJob"]["apiVersion"] == "ray.io/v1"
    assert JOB["backoffLimit"] >= 1 and JOB["shutdownAfterJobFinishes"] and JOB["ttlSecondsAfterFinished"] > 0
    assert CLUSTER["rayVersion"] == ray.__version__ == version("ray")
    assert f"ray=={CLUSTER['rayVersion']}" in (DEPLOY / "constraints.txt").read_text().splitlines()
    assert CLUSTER["authOptions"] == {"mode": "token"}
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_only_fields_that_the_operator_knows():
    """KubeRay's schema comes with no package: what these files use of it, by its documentation."""
    group = {"rayStartParams", "template"}
    assert set(JOB) == {
        "entrypoint",
        "submissionMode",
        "backoffLimit",
        "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished",
        "rayClusterSpec",
        "submitterPodTemplate",
    }
    assert set(CLUSTER) == {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
    assert set(CLUSTER["headGroupSpec"]) == group
    for one in CLUSTER["workerGroupSpecs"]:
        assert set(one) == group | {"groupName", "replicas", "minReplicas", "maxReplicas"}
        assert one["minReplicas"] <= one["replicas"] <= one["maxReplicas"]
    for one in (CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in one["rayStartParams"].values())


def test_every_other_object_follows_kubernetes_own_schema():
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="needs pip install kubernetes-validate")
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**pod["metadata"], "name": name}, "spec": pod["spec"]}
        for name, pod in PODS.items()
    ]
    own = [OBJECTS[kind] for kind in ("Namespace", "ServiceAccount", "NetworkPolicy")]
    for one in (*own, *pods):
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_has_no_rights_beyond_its_own_files(name):
    spec = PODS[name]["spec"]
    assert spec["automountServiceAccountToken"] is False
    pod = spec["securityContext"]
    assert pod["runAsNonRoot"] is True and pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["runAsUser"] == pod["runAsGroup"] == pod["fsGroup"] == image_user()
    assert pod["fsGroupChangePolicy"] == "OnRootMismatch"
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(spec)
    assert all(set(volume) == {"name", "emptyDir"} for volume in spec["volumes"])


def image_user() -> int:
    return int(re.findall(r"^USER (\d+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)[-1])


def test_nobody_but_the_named_service_account_and_restricted_pods():
    assert OBJECTS["Namespace"]["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    account = OBJECTS["ServiceAccount"]
    assert account["automountServiceAccountToken"] is False
    assert all(pod["spec"]["serviceAccountName"] == account["metadata"]["name"] for pod in RAY_PODS.values())
    assert OBJECTS["Namespace"]["metadata"]["name"] == KUSTOMIZATION["namespace"]


@pytest.mark.parametrize("name", PODS)
def test_what_is_written_has_a_volume_of_a_stated_size(name):
    spec = PODS[name]["spec"]
    (container,) = spec["containers"]
    volumes = {volume["name"]: volume["emptyDir"] for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert len(mounts) == len(volumes), "every volume is mounted"
    home = re.findall(r"^WORKDIR (.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)[-1]
    assert set(mounts) == {"/tmp", home} | ({"/dev/shm"} if name in RAY_PODS else set())
    assert all(gib(volume["sizeLimit"]) >= GIB for volume in mounts.values())
    if name in RAY_PODS:  # counts as the container's memory, of which Ray wants 30 % for objects
        assert mounts["/dev/shm"]["medium"] == "Memory"
        assert gib(mounts["/dev/shm"]["sizeLimit"]) < gib(container["resources"]["limits"]["memory"]) / 2


def test_requests_are_limits_and_gpus_are_asked_for_once():
    gpus = []
    for name, pod in PODS.items():
        (container,) = pod["spec"]["containers"]
        resources = container["resources"]
        assert resources["requests"] == resources["limits"] and {"cpu", "memory"} <= set(resources["limits"]), name
        assert ("nvidia.com/gpu" in resources["limits"]) == container["image"].endswith("-cuda")
        gpus += [name] if "nvidia.com/gpu" in resources["limits"] else []
    assert gpus == ["gpu"] and {"gpu", "cpu"} <= set(PODS)


def test_strangers_do_not_reach_the_pods():
    policy = OBJECTS["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    selected = policy["podSelector"]["matchLabels"]
    assert all(selected.items() <= pod["metadata"]["labels"].items() for pod in PODS.values())
    run, operator, prometheus = policy["ingress"]
    assert run == {"from": [{"podSelector": policy["podSelector"]}]}
    assert operator["ports"] == [{"protocol": "TCP", "port": 8265}]
    assert prometheus["ports"] == [{"protocol": "TCP", "port": 8080}]
    for rule in (operator, prometheus):
        (peer,) = rule["from"]
        assert peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert operator["from"][0]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "kuberay-operator"}


def test_the_pods_reach_each_other_names_and_public_addresses_only():
    run, names, outside = OBJECTS["NetworkPolicy"]["spec"]["egress"]
    assert run == {"to": [{"podSelector": OBJECTS["NetworkPolicy"]["spec"]["podSelector"]}]}
    assert names["ports"] == [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    assert names["to"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "kube-system"}
    assert outside["ports"] == [{"protocol": "TCP", "port": 443}]
    (peer,) = outside["to"]
    private = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"}  # RFC 1918, and the machine's role
    assert private <= set(peer["ipBlock"]["except"])


def test_prometheus_finds_the_port_that_the_policy_lets_it_reach():
    monitor = OBJECTS["PodMonitor"]
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"]["selector"] == OBJECTS["NetworkPolicy"]["spec"]["podSelector"]
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "metrics"}]


def test_images_are_named_by_digest_in_one_place():
    used = {container["image"] for pod in PODS.values() for container in pod["spec"]["containers"]}
    assert used == {image["name"] for image in KUSTOMIZATION["images"]} == {"wsl-pipeline-cpu", "wsl-pipeline-cuda"}
    for image in KUSTOMIZATION["images"]:
        assert set(image) == {"name", "newName", "digest"} and re.fullmatch("sha256:[0-9a-f]{64}", image["digest"])
    assert all((KUBERAY / name).exists() for name in KUSTOMIZATION["resources"])


@pytest.mark.skipif(not shutil.which("kubectl"), reason="needs kubectl")
def test_kubectl_fills_them_in():
    done = subprocess.run(["kubectl", "kustomize", KUBERAY], capture_output=True, text=True, check=True)
    objects = list(yaml.safe_load_all(done.stdout))
    assert {one["kind"] for one in objects} == {"Namespace", "ServiceAccount", "NetworkPolicy", "RayJob"}
    assert all(one["metadata"].get("namespace") == "wsl-pipeline" for one in objects if one["kind"] != "Namespace")
    images = re.findall(r"image: (\S+)", done.stdout)
    assert len(images) == len(PODS) and all(re.fullmatch(r"REGISTRY/wsl-pipeline@sha256:\w{64}", one) for one in images)


@pytest.mark.slow
@pytest.mark.skipif(not separate_mounts(), reason="needs a mount namespace")
def test_a_run_writes_nowhere_but_on_the_mounted_volumes(tmp_path):
    """All of this machine but /tmp and /dev/shm is read-only, and the home is an empty folder."""
    home, out = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    script = """
        mount --make-rprivate / && mount --bind /tmp /tmp && mount --bind /dev/shm /dev/shm || exit 90
        awk '{print $5}' /proc/self/mountinfo | sort -u | grep -vE '^/(tmp|dev|proc|sys)(/|$)' |
            while read -r where; do mount -o remount,ro,bind "$where" 2>/dev/null; done
        touch /usr/written 2>/dev/null && exit 91
        exec "$@"
    """
    isolated = ["unshare", "--mount", "bash", "-c", script, "bash"]
    program = [sys.executable, "-c", "from pipeline.shell.cli import main; main()", "run", "photos", "model.spec=lite0"]
    done = subprocess.run(
        [*isolated, *program, "--executor", "ray", "--limit", "2", "--out", str(out)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"} | {"HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (out / "_SUCCESS").exists()
