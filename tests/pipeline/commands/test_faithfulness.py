"""Faithfulness in a whole run: from the configuration to metrics.json, the page and the console."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.commands.run import run
from pipeline.shell.console import show_scores
from pipeline.shell.listing import listing
from pipeline.store.tables import FAITHFULNESS
from stages.errors import ConfigurationError
from stages.evaluate.faithfulness import counts
from tests.runs import COUNT, files

ASKED = "evaluate.faithfulness=[average_drop,adcc]"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny):
    out = tmp_path_factory.mktemp("faithful") / "run"
    return out, run(tiny(ASKED, "explain.methods=[cam,eigencam]"), out)


def test_metrics_follow_from_the_parts(finished):
    out, metrics = finished
    total: counts.Counts = {}
    for part in sorted((out / "predictions").glob("*.parquet")):
        stored = pq.read_schema(part).metadata[FAITHFULNESS].decode()
        total = counts.merge(total, counts.from_json(stored))
    for method in ("cam", "eigencam"):
        found = metrics["methods"][method]["faithfulness"]
        assert set(found) == {"average_drop", "adcc"}
        for name, one in found.items():
            assert one["n"] == COUNT - 1 and 0 <= one["value"] <= 1
            assert one["value"] == pytest.approx(float(np.mean(total[method][name].astype(float))), abs=1e-6)
    assert json.loads((out / "run.json").read_text())["seconds"]["faithfulness/adcc"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("override", ["runtime.workers=1", "runtime.batch_size=5"])
def test_how_it_is_carried_out_changes_no_byte(finished, tiny, tmp_path, override):
    run(tiny(ASKED, "explain.methods=[cam,eigencam]", override), tmp_path / "again")
    assert files(tmp_path / "again") == files(finished[0])


def test_page_and_console_show_a_table(finished, capsys):
    out, metrics = finished
    page = (out / "report" / "index.html").read_text()
    assert "<h2>Faithfulness</h2>" in page and "average drop \u2193" in page and "adcc \u2191" in page
    assert f"{metrics['methods']['cam']['faithfulness']['adcc']['value']:.3f}" in page
    show_scores(metrics, str(out))
    assert "faithfulness of the first prediction" in capsys.readouterr().err


def test_without_asking_nothing_is_there(tiny, tmp_path):
    metrics = run(tiny("data.limit=3"), tmp_path / "run")
    assert "faithfulness" not in metrics["methods"]["cam"]
    assert "Faithfulness" not in (tmp_path / "run" / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["evaluate.faithfulness=[insrtion]"],
            r"evaluate\.faithfulness: unknown .* 'insrtion'; did you mean insertion\?",
        ),
        ([ASKED, "explain.targets=[label]"], r"evaluate\.faithfulness: .*add top1 to explain\.targets"),
        (["evaluate.faithfulness=[adcc,adcc]"], r"evaluate\.faithfulness: the same name appears twice"),
    ],
)
def test_what_makes_no_sense_is_refused(tiny, tmp_path, overrides, message):
    with pytest.raises(ConfigurationError, match=message):
        run(tiny(*overrides), tmp_path / "run")


def test_the_list_tells_what_each_costs():
    listed = listing("metrics")
    assert listed["faithfulness.average_drop"]["cost"] == "1 F"
    assert listed["faithfulness.road"]["cost"] == "18 F"
