"""A small finished run for the doctests of the Python face: they run in a folder that has ``runs/tiny``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs import write_tiny


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``tiny.yaml``, its ``data``, and the finished run ``runs/tiny``."""
    from pipeline.commands.run import run
    from pipeline.config.load import load_config

    folder = tmp_path_factory.mktemp("finished")
    write_tiny(folder)
    run(load_config(str(folder / "tiny.yaml"), [])[1], folder / "runs" / "tiny")
    return folder


@pytest.fixture(autouse=True)
def _beside_a_run(request: pytest.FixtureRequest) -> None:
    if isinstance(request.node, pytest.DoctestItem) and request.node.path.parent.name == "api":
        folder = request.getfixturevalue("finished_runs")
        request.getfixturevalue("monkeypatch").chdir(folder)
