"""What several tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def shared(name: str) -> Path:
    """A folder of the test data that lies beside the repository; the test is skipped where it does not."""
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"the test data {name} does not lie beside the repository")
    return path


@pytest.fixture(scope="session")
def imagenet_sample() -> Path:
    """333 images of the ILSVRC validation set in the Kaggle layout."""
    return shared("imagenet")


@pytest.fixture(scope="session")
def wsol_metadata() -> Path:
    """Labels, sizes and boxes of all ILSVRC validation images, as wsolevaluation publishes them."""
    return shared("wsol-metadata")
