"""The image: a Dockerfile whose parts exist, and exact versions with a hash each."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.deploy import DEPLOY, ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
TEXT = (DEPLOY / "Dockerfile").read_text()
LINES = [line.split(maxsplit=1) for line in TEXT.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def test_the_dockerfile_builds_from_what_is_here():
    assert {name for name, _ in LINES} <= {"FROM", "ARG", "ENV", "RUN", "COPY", "USER", "WORKDIR", "CMD"}
    python = dict(rest.split("=", 1) for name, rest in LINES if name == "ARG")["PYTHON"]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.partition(":")[2].partition("-")[0])
    stages = [rest.partition(" AS ")[2] for name, rest in LINES if name == "FROM"]
    assert stages == ["python", "resolve", "lock", ""]
    for rest in (rest for name, rest in LINES if name == "COPY"):
        *sources, _ = rest.split()
        if sources[0].startswith("--from="):
            assert sources[0].removeprefix("--from=") in stages
        else:
            assert all((ROOT / source).exists() for source in sources)


def test_the_image_does_not_run_as_root():
    order = [name for name, _ in LINES]
    assert order.index("USER") > max(i for i, name in enumerate(order) if name == "RUN")
    user = next(rest for name, rest in LINES if name == "USER")
    assert user.isdecimal() and int(user) > 0, "Kubernetes' runAsNonRoot needs a number"
    assert f"--uid {user} " in TEXT
    assert json.loads(next(rest for name, rest in LINES if name == "CMD"))[0] == "wsl-pipeline"


def test_the_readme_builds_stages_and_passes_arguments_that_exist():
    blocks = re.findall(r"```bash\n(.+?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
    lock, image = blocks[0].replace("\\\n", " ").splitlines()
    assert "--target lock --output locked" in lock and "--build-context lock=locked" in image
    assert {"--sbom=true", "--provenance=true", "--push"} <= set(image.split())
    declared = {rest.partition("=")[0] for name, rest in LINES if name == "ARG"}
    assert declared == {"PYTHON", "TORCH_INDEX"} and "--build-arg PYTHON=python:" in image


def test_nothing_is_installed_without_a_hash():
    installs = [part for name, rest in LINES if name == "RUN" for part in rest.split("&&") if "pip install" in part]
    packages, project = installs
    assert "--require-hashes --requirement /usr/local/share/wsl-pipeline/lock.txt" in " ".join(packages.split())
    assert "--no-deps --no-build-isolation /src" in project


@pytest.mark.slow
def test_the_lock_has_the_hash_of_every_file_that_pip_would_install(tmp_path):
    digests = {}
    for name, requires in (("one", "two"), ("two", "")):
        wheel = tmp_path / f"{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            facts, folder = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", f"{name}-1.0.dist-info"
            archive.writestr(f"{folder}/METADATA", facts + (f"Requires-Dist: {requires}\n" if requires else ""))
            archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{folder}/RECORD", "")
        digests[name] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    offline = ["--no-index", "--find-links", tmp_path]
    lock = subprocess.run(
        [sys.executable, DEPLOY / "lock.py", *offline, "one"], capture_output=True, text=True, check=True
    ).stdout
    assert lock.splitlines() == [f"{name}==1.0 --hash=sha256:{digests[name]}" for name in ("one", "two")]

    def install(text: str) -> int:
        (tmp_path / "lock.txt").write_text(text)
        pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--require-hashes", *offline]
        return subprocess.run([*pip, "-r", tmp_path / "lock.txt"], capture_output=True).returncode

    assert install(lock) == 0
    assert install(lock.replace(digests["two"], digests["one"])) != 0, "another file of the same name and version"
    assert install(lock.splitlines()[0]) != 0, "a package without a hash"


def test_constraints_are_exact_and_satisfy_the_project():
    lines = [line for line in (DEPLOY / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {}
    for requirement in map(Requirement, lines):
        (only,) = requirement.specifier
        assert only.operator == "==" and not only.version.endswith("*")
        pins[canonicalize_name(requirement.name)] = only.version
    extras = PROJECT["optional-dependencies"]
    needed = [*PROJECT["dependencies"], *extras["demo"], *extras["timm"], *PYPROJECT["build-system"]["requires"], "ray"]
    for requirement in map(Requirement, needed):
        pin = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin), requirement
