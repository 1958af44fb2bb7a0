"""Networks are built once. Other libraries take their time, so all of this is slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers.networks import CASES, Case


@pytest.fixture(scope="package", params=CASES)
def network(request: pytest.FixtureRequest) -> Case:
    """Every network in turn."""
    return CASES[request.param]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)
