"""The table of all numbers holds every number of metrics.json once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.commands.run import run
from pipeline.scores.tidy import ScoreRow, tidy


@pytest.fixture(scope="module")
def metrics(tiny, tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tidy")
    return run(tiny("evaluate.faithfulness=[average_drop]", "box.protocol=ilsvrc-clsloc"), folder / "run")


def numbers(found: Any) -> Iterator[dict[str, Any]]:
    """Everything with a value, at any depth."""
    if isinstance(found, dict):
        if "value" in found:
            yield found
        else:
            for one in found.values():
                yield from numbers(one)


def test_every_number_is_a_row(metrics: dict[str, Any]) -> None:
    rows = tidy(metrics)
    estimates = [*numbers(metrics["classification"]), *numbers(metrics["methods"]), *numbers(metrics["baselines"])]
    precisions = [value for one in metrics["methods"].values() for value in one["coco"].values()]
    assert len(rows) == len(estimates) + len(precisions) == len({row[:3] for row in rows})
    expected = sorted([*(one["value"] for one in estimates), *precisions])
    assert sorted(row.value for row in rows) == expected


def test_rows_say_what_they_are(metrics: dict[str, Any]) -> None:
    rows = {row[:3]: row for row in tidy(metrics)}
    cam = metrics["methods"]["cam"]
    best = cam["max_box_acc"]["0.5"]
    assert rows["cam", "max_box_acc", 0.5] == ScoreRow(
        "cam", "max_box_acc", 0.5, best["value"], *best["ci95"], best["n"], "oracle"
    )
    assert rows["cam", "gt_known_loc", 0.5].threshold_from == "protocol"
    assert rows["cam", "mean_iou", None].value == cam["mean_iou"]["value"]
    assert rows["cam", "clsloc_error.top5", None].value == cam["clsloc_error"]["top5"]["value"]
    assert rows["cam", "strata.border.free", 0.3].n == cam["strata"]["border"]["free"]["0.3"]["n"]
    assert rows["cam", "faithfulness.average_drop", None].threshold_from is None
    assert rows["cam", "coco.AP50", None][4:7] == (None, None, None)
    assert rows[None, "top1", None].value == metrics["classification"]["top1"]["value"]
    assert (
        rows["full_image", "gt_known_loc", 0.7].value
        == metrics["baselines"]["full_image"]["gt_known_loc"]["0.7"]["value"]
    )


def test_a_run_without_labels_has_no_rows() -> None:
    assert tidy({"methods": {"cam": {"box_status": {"ok": 3}}}}) == []
