"""Networks are built once."""

from __future__ import annotations

import pytest

from tests.peers.networks import CASES, Case


@pytest.fixture(scope="package", params=CASES)
def network(request: pytest.FixtureRequest) -> Case:
    """Every network in turn."""
    return CASES[request.param]()
