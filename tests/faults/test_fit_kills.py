"""A run that is killed while it fits its foreground, and after that, ends as one that is left alone."""

from __future__ import annotations

import time

import pytest

from pipeline.commands.run import run
from pipeline.engine import fit
from tests.repetitions import ALL
from tests.runs import commits, files, start, wsl

pytestmark = pytest.mark.slow

OPTIONS = "explain.methods=[cam,foreground-cam]", "explain.scales=[0.75,1.0]", "box.protocol=foreground2026"
SMALL = "import pipeline.engine.fit as fit; fit.PART = 2"
KILLS = 5


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "PART", 2)
        run(tiny(*OPTIONS, "runtime.shard_size=2"), folder)
    return files(folder)


def cells(folder):
    """What of the fit is stored."""
    return set((folder / "fit").glob("cells-*.parquet"))


@pytest.mark.parametrize(
    "runtime",
    [
        pytest.param(["inline"], marks=ALL),
        pytest.param(["ray", "runtime.workers=1"], marks=ALL),
        ["ray", "runtime.workers=2"],
    ],
)
def test_every_executor_fits_the_same(undisturbed, tiny_data, tmp_path, runtime):
    executor, *more = runtime
    options = *OPTIONS, "runtime.shard_size=2", "--executor", executor, *more, "-q", "--out", tmp_path / "run"
    result = wsl("run", tiny_data / "tiny.yaml", *options, prelude=SMALL)
    assert result.returncode == 0, result.stderr
    assert files(tmp_path / "run") == undisturbed


@pytest.mark.parametrize("executor", ["inline", pytest.param("ray", marks=ALL)])
def test_kills_change_no_byte(undisturbed, tiny_data, tmp_path, executor):
    out = tmp_path / "run"
    options = *OPTIONS, "runtime.shard_size=2", "--executor", executor, "-q", "--out", out
    inside = 0
    for done in (cells, commits):
        for _ in range(KILLS):
            before = len(done(out))
            process = start("run", tiny_data / "tiny.yaml", *options, prelude=SMALL)
            while process.poll() is None and len(done(out)) <= before and not (done is cells and commits(out)):
                time.sleep(0.002)
            assert process.poll() is None, "it ended before it was killed"
            process.kill()
            process.wait()
            inside += done is cells and not (out / "fit" / "foreground.npz").exists()
    assert inside >= KILLS - 1
    assert 0 < len(commits(out)) < 12
    result = wsl("run", tiny_data / "tiny.yaml", *options, prelude=SMALL)
    assert result.returncode == 0, result.stderr
    assert files(out) == undisturbed
