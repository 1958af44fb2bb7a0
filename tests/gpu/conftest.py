"""What the tests of a GPU share; with ``--device cpu`` all but their speed is tried without one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.benchmarks.photographs import repeat_sample
from tests.runs import wsl


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The device of ``--device``."""
    name: str = request.config.getoption("--device")
    if name != "cpu" and not torch.cuda.is_available():
        pytest.skip("there is no GPU here; --device cpu tries these tests without one")
    return name


@pytest.fixture(scope="session")
def quick(device: str) -> bool:
    """Whether sizes are small, because speed is not the question."""
    return device == "cpu"


@pytest.fixture(scope="session")
def sample(request: pytest.FixtureRequest) -> Path:
    """A Kaggle-style folder with some photographs."""
    given = request.config.getoption("--photographs")
    return Path(given) if given else request.getfixturevalue("imagenet_sample")


@pytest.fixture(scope="session")
def photographs(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A Kaggle-style folder of so many photographs, repeated as often as needed."""
    made: dict[int, Path] = {}

    def find(count: int) -> Path:
        if count not in made:
            made[count] = repeat_sample(sample, tmp_path_factory.mktemp("photographs"), count)
        return made[count]

    return find


@pytest.fixture
def run(device: str, tmp_path: Path) -> Callable[..., Path]:
    """Carries out a run over a folder of photographs in a process of its own; returns its directory."""

    def carry_out(name: str, root: Path, *options: object, **environment: str) -> Path:
        out = tmp_path / name
        arguments = f"data.root={root}", f"runtime.device={device}", *options, "-q", "--out", out
        result = wsl("run", "imagenet-val", *arguments, environment=environment)
        assert result.returncode == 0, result.stderr
        return out

    return carry_out
