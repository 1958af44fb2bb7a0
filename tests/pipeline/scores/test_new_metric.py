"""A row-wise metric is one function and one row of the table: everything that shows scores then knows it."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.commands.relocalize import relocalize
from pipeline.commands.run import run
from pipeline.scores.tidy import tidy
from pipeline.shell.console import show_scores
from pipeline.shell.listing import listing
from pipeline.store.rundir import RunDir
from stages.batch import Batch
from stages.errors import DataError
from stages.evaluate.metrics.contract import Metric
from stages.evaluate.metrics.row_mean import RowMean
from stages.evaluate.metrics.table import METRICS
from tests.runs import COUNT


def over_half(rows: Batch) -> np.ndarray:
    """1 where the box has more than half of the image's area."""
    width, height = (rows["box"][:, 2:] - rows["box"][:, :2]).T
    return width * height > 0.5 * rows["width"] * rows["height"]


LARGE = Metric(
    name="large_box",
    title="Large boxes",
    short="large boxes",
    definition="share of images whose box has more than half of the image",
    counter=RowMean("large_box", over_half, ("box", "width", "height")),
    better="lower",
)


@pytest.mark.slow
def test_a_new_row_of_the_table_is_everywhere(tiny, tmp_path, monkeypatch, capsys) -> None:
    before = run(tiny(), tmp_path / "before")
    monkeypatch.setitem(METRICS, LARGE.name, LARGE)
    found = run(tiny(), tmp_path / "run")
    rows = pq.read_table(tmp_path / "run" / "predictions").filter(pq.filters_to_expression([("target_rank", "=", 0)]))
    sizes = {one["image_id"]: one for one in pq.read_table(tmp_path / "run" / "manifest.parquet").to_pylist()}
    share = []
    for row in rows.to_pylist():
        x0, y0, x1, y1 = row["box"]
        image = sizes[row["image_id"]]
        if row["method"] == "cam":
            share.append((x1 - x0) * (y1 - y0) > 0.5 * image["width"] * image["height"])
    score = found["methods"]["cam"]["large_box"]
    assert 0 < score["value"] < 1 and score["value"] == pytest.approx(np.mean(share), abs=1e-6)
    assert score["n"] == COUNT - 1 and score["ci95"][0] <= score["value"] <= score["ci95"][1]
    for scores in found["methods"].values():
        del scores["large_box"]
    assert found == before  # and nothing else has changed

    found = RunDir(tmp_path / "run").read_json("metrics.json")
    assert listing("metrics")["large_box"] == LARGE.definition
    show_scores(found)
    assert "large boxes" in capsys.readouterr().err
    page = (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert f'<th class="group" colspan="1">{LARGE.title}</th>' in page and f"<b>{100 * score['value']:.1f}</b>" in page
    assert "<td>large_box</td>" in page  # among all numbers
    [row] = [row for row in tidy(found) if (row.method, row.metric) == ("cam", "large_box")]
    assert (row.value, [row.low, row.high], row.n, row.level) == (score["value"], score["ci95"], score["n"], None)


@pytest.mark.slow
def test_parts_without_it_are_not_mixed_with_parts_that_have_it(tiny, tmp_path, monkeypatch) -> None:
    run(tiny(), tmp_path / "run")
    (tmp_path / "run" / "_SUCCESS").unlink()
    (tmp_path / "run" / "predictions" / "part-000001.parquet").unlink()
    monkeypatch.setitem(METRICS, LARGE.name, LARGE)
    with pytest.raises(DataError, match=r"another version of this program \(large_box\); delete the predictions"):
        run(tiny(), tmp_path / "run")
    for part in (tmp_path / "run" / "predictions").iterdir():
        part.unlink()
    assert "large_box" in run(tiny(), tmp_path / "run")["methods"]["cam"]
    # Stored maps have it at once.
    monkeypatch.delitem(METRICS, LARGE.name)
    run(tiny(), tmp_path / "other")
    monkeypatch.setitem(METRICS, LARGE.name, LARGE)
    assert "large_box" in relocalize(tmp_path / "other", [], tmp_path / "again")["methods"]["cam"]
