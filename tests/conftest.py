"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.load import load_config
from pipeline.config.sections import Config
from tests.runs import write_tiny

if "PYTEST_XDIST_WORKER" in os.environ:  # Processes that share the cores test by test are faster with a thread each.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gpu", "tests of a GPU (-m gpu)")
    group.addoption("--device", default="cuda", help="cpu tries them without a GPU")
    group.addoption("--photographs", help="Kaggle-style folder of some photographs of ILSVRC's validation set")


SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def _shared(name: str) -> Path:
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"the test data {name} does not lie next to the repository")
    return path


@pytest.fixture(scope="session")
def imagenet_sample() -> Path:
    """333 images of the ILSVRC validation set in the Kaggle layout."""
    return _shared("imagenet")


@pytest.fixture(scope="session")
def wsol_metadata() -> Path:
    """Labels, sizes and boxes of all ILSVRC validation images, as wsolevaluation publishes them."""
    return _shared("wsol-metadata")


@pytest.fixture(scope="session")
def layouts() -> Path:
    """Datasets in the formats of other tools, real ones and the same four images in each."""
    return _shared("formats")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that :func:`tests.runs.write_tiny` makes."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_data: Path) -> Callable[..., Config]:
    """The configuration of the tiny run, with overrides."""
    return lambda *overrides: load_config(str(tiny_data / "tiny.yaml"), list(overrides))[1]


@pytest.fixture(scope="module")
def cluster():
    """A Ray of this module's own, on four cores and one GPU that need not be there."""
    import ray

    ray.init(
        "local", num_cpus=4, num_gpus=1, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False
    )
    yield
    ray.shutdown()
