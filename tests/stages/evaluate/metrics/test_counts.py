"""Counting, merging and the metrics made of the counts, on rows small enough to count by hand."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest

from stages.batch import Batch, ragged, take
from stages.boxes.protocols import get_protocol
from stages.errors import DataError
from stages.evaluate.metrics import table as metric_table
from stages.evaluate.metrics.contract import Metric, Scoring
from stages.evaluate.metrics.counts import Counts, compute, merge, update
from stages.evaluate.metrics.row_mean import RowMean

DELTAS = (0.3, 0.5, 0.7)
CAM = get_protocol("cam2016", sweep_interval=0.25)
SCORING = Scoring(CAM, DELTAS)


def table(*entries: tuple, methods: tuple[str, ...] = ("cam",)) -> Batch:
    """Rows from (image, rank, class, label, iou), for each method the same; rank 0 has a sweep."""
    entries = [(method, *entry) for method in methods for entry in entries]
    method, image, rank, classes, label, overlap = zip(*entries, strict=True)
    overlap = np.array(overlap, np.float32)
    hits = overlap[:, None] >= np.float32(DELTAS)
    swept = [
        np.tile(hit[:, None], (1, 4)) & np.array([False, True, True, False]) if not r and not np.isnan(o) else None
        for hit, r, o in zip(hits, rank, overlap, strict=True)
    ]
    return {
        "image_id": np.array(image),
        "method": ragged(method),
        "target_rank": np.array(rank, np.int8),
        "class_index": np.array(classes, np.int32),
        "label": np.array(label, np.int32),
        "iou": overlap,
        "hits": hits,
        "sweep_hits": ragged(swept),
        "sweep_hits_v2": ragged([None] * len(swept)),
    }


NAN = float("nan")
# Image 1: right class first. 2: right class third, its box good. 3: right class second, its box bad.
# 4: right class not among five. 5: no boxes. 6: no label.
ENTRIES = [
    *[
        (1, 0, 7, 7, 0.6),
        (1, 1, 7, 7, 0.6),
        (1, 2, 1, 7, 0.9),
        (1, 3, 2, 7, 0.9),
        (1, 4, 3, 7, 0.9),
        (1, 5, 4, 7, 0.9),
    ],
    *[
        (2, 0, 7, 7, 0.8),
        (2, 1, 1, 7, 0.9),
        (2, 2, 2, 7, 0.1),
        (2, 3, 7, 7, 0.8),
        (2, 4, 3, 7, 0.1),
        (2, 5, 4, 7, 0.1),
    ],
    *[
        (3, 0, 7, 7, 0.2),
        (3, 1, 1, 7, 0.9),
        (3, 2, 7, 7, 0.2),
        (3, 3, 2, 7, 0.9),
        (3, 4, 3, 7, 0.9),
        (3, 5, 4, 7, 0.9),
    ],
    *[
        (4, 0, 7, 7, 0.4),
        (4, 1, 1, 7, 0.9),
        (4, 2, 2, 7, 0.9),
        (4, 3, 3, 7, 0.9),
        (4, 4, 4, 7, 0.9),
        (4, 5, 5, 7, 0.9),
    ],
    *[
        (5, 0, 7, 7, NAN),
        (5, 1, 7, 7, NAN),
        (5, 2, 1, 7, NAN),
        (5, 3, 2, 7, NAN),
        (5, 4, 3, 7, NAN),
        (5, 5, 4, 7, NAN),
    ],
    *[(6, rank, rank, -1, 0.9) for rank in range(6)],
]


def scored(counts: Counts, scoring: Scoring = SCORING) -> dict:
    """Everything that follows from the counts."""
    return {
        "classification": compute(counts.classification, scoring),
        "methods": {method: compute(own, scoring) for method, own in counts.methods.items()},
    }


def values(metrics: dict) -> dict:
    return {
        name: {delta: entry["value"] for delta, entry in metrics[name].items()} for name in metrics if "loc" in name
    }


def test_metrics_by_hand() -> None:
    metrics = scored(update(table(*ENTRIES)))
    own = metrics["methods"]["cam"]
    assert values(own) == {
        "gt_known_loc": {"0.3": 0.75, "0.5": 0.5, "0.7": 0.25},
        "top1_loc": {"0.3": 0.25, "0.5": 0.25, "0.7": 0.0},
        "top5_loc": {"0.3": 0.5, "0.5": 0.5, "0.7": 0.25},
    }
    assert own["gt_known_loc"]["0.5"]["n"] == 4
    assert own["mean_iou"]["value"] == 0.5 and own["mean_iou"]["n"] == 4
    best = own["max_box_acc"]["0.3"]
    assert (best["value"], best["threshold"], best["n"]) == (0.75, 0.25, 4)
    assert best["ci95"] == own["gt_known_loc"]["0.3"]["ci95"]  # as many images are right at 0.25
    assert own["max_box_acc_v2"]["value"] == 0.5
    ends = np.mean([one["ci95"] for one in own["max_box_acc"].values()], axis=0)
    np.testing.assert_allclose(own["max_box_acc_v2"]["ci95"], ends, atol=1e-6)
    assert best["threshold_from"] == own["max_box_acc_v2"]["threshold_from"] == "oracle"
    assert own["box_acc_curve"]["thresholds"] == [0, 0.25, 0.5, 0.75]
    assert own["box_acc_curve"]["0.7"] == [0, 0.25, 0.25, 0]
    assert metrics["classification"]["top1"]["value"] == 0.4
    assert metrics["classification"]["top5"]["value"] == 0.8
    assert metrics["classification"]["top5"]["n"] == 5


def test_shards_in_any_order_and_through_text_give_the_same() -> None:
    rows = table(*ENTRIES, methods=("gradcam", "cam"))
    whole = scored(update(rows))
    parts = [update(take(rows, rows["image_id"] == image)) for image in (4, 6, 1, 3, 5, 2)]
    parts = [Counts.from_json(part.to_json()) for part in parts]
    assert scored(reduce(merge, parts, Counts())) == whole
    assert scored(reduce(merge, parts[::-1])) == whole
    assert set(whole["methods"]) == {"cam", "gradcam"}
    assert whole["classification"]["top1"]["n"] == 5


def test_text_is_stable_and_compact() -> None:
    rows = table(*ENTRIES)
    text = update(rows).to_json()
    assert text == Counts.from_json(text).to_json() and " " not in text
    assert len(text) < 400


def test_what_cannot_be_computed_is_absent() -> None:
    label_only = [entry for entry in ENTRIES if entry[1] == 0]
    metrics = scored(update(table(*label_only)))
    assert "top1_loc" not in metrics["methods"]["cam"] and "gt_known_loc" in metrics["methods"]["cam"]
    assert metrics["classification"] == {}
    predictions_only = [entry for entry in ENTRIES if 1 <= entry[1] <= 3]
    metrics = scored(update(table(*predictions_only)))
    assert set(metrics["methods"]["cam"]) == {"top1_loc"} and set(metrics["classification"]) == {"top1"}
    unlabelled = [entry for entry in ENTRIES if entry[0] == 6]
    assert scored(update(table(*unlabelled))) == {"classification": {}, "methods": {"cam": {}}}
    assert scored(update({})) == {"classification": {}, "methods": {}}


def test_v2_needs_its_three_levels() -> None:
    rows = table(*ENTRIES)
    rows["hits"] = rows["hits"][:, :1]
    rows["sweep_hits"] = ragged([None if hits is None else hits[:1] for hits in rows["sweep_hits"]])
    own = scored(update(rows), Scoring(CAM, (0.3,)))["methods"]["cam"]
    assert "max_box_acc_v2" not in own and own["max_box_acc"]["0.3"]["value"] == 0.75


def test_v2_takes_its_own_hits_where_there_are_some() -> None:
    rows = table((1, 0, 7, 7, 0.4))
    rows["sweep_hits_v2"] = ragged([np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], bool)])
    own = scored(update(rows))["methods"]["cam"]
    assert own["max_box_acc_v2"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert own["max_box_acc"]["0.5"]["value"] == 0


def test_images_are_counted_once_however_many_guesses_are_right() -> None:
    """A detector may name the same class five times."""
    metrics = scored(update(table(*[(1, rank, 7, 7, 0.6) for rank in range(1, 6)])))
    assert metrics["classification"]["top5"] == {"value": 1, "ci95": [1, 1], "n": 1}
    assert metrics["methods"]["cam"]["top5_loc"]["0.5"]["n"] == 1


def test_a_row_wise_metric_is_the_mean_of_the_labels_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    low = RowMean("low", lambda rows: np.where(rows["iou"] < 0.7, 1 - rows["iou"], np.nan), ("iou",))
    row = Metric(name="low", title="Low", definition="what is missing of a small overlap", counter=low)
    monkeypatch.setitem(metric_table.METRICS, "low", row)
    rows = table(*ENTRIES)
    parts = [Counts.from_json(update(take(rows, rows["image_id"] == image)).to_json()) for image in (2, 1, 4, 3, 6, 5)]
    own = scored(reduce(merge, parts, Counts()))["methods"]["cam"]
    assert list(own)[-1] == "low" and own["low"]["n"] == 3
    assert own["low"]["value"] == pytest.approx((0.4 + 0.8 + 0.6) / 3, abs=1e-6)
    assert own["low"]["ci95"][0] <= own["low"]["value"] <= own["low"]["ci95"][1]
    text = parts[0].to_json()
    monkeypatch.delitem(metric_table.METRICS, "low")  # Another program's table.
    with pytest.raises(DataError, match=r"another version of this program \(low\); delete the predictions"):
        Counts.from_json(text)


def test_counts_of_another_version_are_refused() -> None:
    old = '{"classification":{"top1_n":1},"methods":{"cam":{"images":[1,1,1],"ious":""}}}'
    with pytest.raises(DataError, match=r"another version of this program \(images, ious, top1_n\)"):
        Counts.from_json(old)
    whole = update(table(*ENTRIES))
    less = Counts(whole.classification, {"cam": {"boxes": whole.methods["cam"]["boxes"]}})
    with pytest.raises(DataError, match=r"another version of this program \(sweep\)"):
        merge(whole, less)


def test_a_missing_column_leaves_out_what_needs_it() -> None:
    rows = table(*ENTRIES)
    assert set(update(rows).methods["cam"]) == {"boxes", "sweep"}
    del rows["sweep_hits"]
    assert set(update(rows).methods["cam"]) == {"boxes"}


def test_calibrated_thresholds_are_those_of_the_sweep() -> None:
    counts = update(table(*ENTRIES))
    chosen = {"0.3": 0.25, "0.5": 0.0, "0.7": 0.5}
    own = scored(counts, Scoring(CAM, DELTAS, calibrated=chosen))["methods"]["cam"]
    found = {level: (one["value"], one["threshold"], one["n"]) for level, one in own["gt_known_loc_calibrated"].items()}
    assert found == {"0.3": (0.75, 0.25, 4), "0.5": (0, 0, 4), "0.7": (0.25, 0.5, 4)}
    assert "gt_known_loc_calibrated" not in scored(counts)["methods"]["cam"]
