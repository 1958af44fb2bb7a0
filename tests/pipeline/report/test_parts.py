"""Which images are shown, what the table says in words, and where the charts' numbers come from."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.report import charts, gallery
from pipeline.report.rows import Overview, read_overview
from pipeline.report.scores import Column, all_scores, cell, score_table
from stages.evaluate.baselines import zero_line
from stages.evaluate.metrics.boxes import BOXES
from stages.evaluate.metrics.contract import Metric
from stages.evaluate.metrics.table import METRICS


def test_best_and_worst_are_by_overlap_and_ties_by_id():
    ids, iou = np.arange(100, 140), np.linspace(0, 1, 40).round(1)
    best, worst, random = gallery.select(ids, iou, seed=3)
    assert best.ids[:4] == [138, 139, 134, 135]
    assert worst.ids[:4] == [100, 101, 102, 103]
    assert len(set(random.ids)) == gallery.PICTURES
    assert random.ids == gallery.select(ids, iou[::-1], seed=3)[2].ids != gallery.select(ids, iou, seed=4)[2].ids


def test_images_without_ground_truth_are_never_best_or_worst():
    iou = np.full(60, np.nan)
    iou[10:30] = 0.5
    for selection in gallery.select(np.arange(60), iou, seed=0):
        assert all(10 <= one < 30 for one in selection.ids)
    assert [one.title for one in gallery.select(np.arange(60), np.full(60, np.nan), 0)] == ["Random"]
    few = gallery.select(np.arange(3), np.array([0.1, 0.9, 0.5]), 0)
    assert [one.ids for one in few] == [[1, 2, 0]]
    assert gallery.select(np.zeros(0, np.int64), np.zeros(0), 0) == []


def test_a_method_below_a_baseline_is_told_so():
    baselines = {
        "full_image": {"gt_known_loc": {"0.5": {"value": 0.40}}, "mean_iou": {"value": 0.3}},
        "center_gaussian": {"max_box_acc": {"0.5": {"value": 0.50}}},
    }
    baselines = zero_line(baselines)
    column = Column("gt_known_loc", "0.5")

    def remark(value: float, low: float) -> str:
        return cell(column, {"gt_known_loc": {"0.5": {"value": value, "ci95": [low, 0.9]}}}, baselines).remark

    assert remark(0.35, 0.31) == "below whole image"
    assert remark(0.45, 0.39) == "not clearly above whole image"
    assert remark(0.45, 0.41) == ""  # 0.50 is at the Gaussian's best threshold: another kind of number
    best = cell(Column("max_box_acc", "0.5"), {"max_box_acc": {"0.5": {"value": 0.45}}}, baselines)
    assert best.remark == "below centre Gaussian"
    mean = cell(Column("mean_iou"), {"mean_iou": {"value": 0.2, "ci95": [0.1, 0.25]}}, baselines)
    assert (mean.value, mean.interval, mean.remark) == ("0.200", "0.100 \u2013 0.250", "below whole image")
    assert cell(column, {}, baselines) is None


def test_where_less_is_better_the_zero_line_is_the_least(monkeypatch):
    row = Metric(name="waste", title="Waste", definition="", counter=BOXES, better="lower", zero_line=True)
    monkeypatch.setitem(METRICS, "waste", row)
    line = zero_line({"full_image": {"waste": {"value": 0.4}}, "random": {"waste": {"value": 0.6}}})
    assert line == {"waste": {"baseline": "full_image", "value": 0.4}}

    def remark(value: float, high: float) -> str:
        return cell(Column("waste"), {"waste": {"value": value, "ci95": [0.1, high]}}, line).remark

    assert remark(0.5, 0.55) == "above whole image"
    assert remark(0.35, 0.41) == "not clearly below whole image"
    assert remark(0.35, 0.39) == ""


def test_the_table_has_the_columns_that_exist(scored):
    table = score_table(scored.read_json("metrics.json"), "0.5")
    assert table.groups()[:2] == [("GT-known localization", 3), ("Top-1 localization", 1)]
    assert all(len(cells) == len(table.columns) for cells in (*table.methods.values(), *table.baselines.values()))
    empty = score_table({"methods": {"cam": {"box_status": {"ok": 3}}}}, "0.5")
    assert empty.columns == [] and empty.methods == {"cam": []}


def test_every_number_but_the_curve_is_listed(scored):
    cam = scored.read_json("metrics.json")["methods"]["cam"]
    lines = {line[0]: line for line in all_scores(cam)}
    assert lines["gt_known_loc 0.3"][1] == f"{cam['gt_known_loc']['0.3']['value']:.4f}"
    assert lines["COCO AP50"][1] == f"{cam['coco']['AP50']:.4f}"
    assert not [name for name in lines if "curve" in name or "status" in name]


def test_the_funnel_ends_with_top1_localization(scored):
    methods = ["cam", "gradcam"]
    overview, metrics = read_overview(scored, methods), scored.read_json("metrics.json")
    names = charts.titles(methods, overview)
    assert names == {"cam": "cam = gradcam"} and overview.same_as == {"gradcam": "cam"}
    bars = charts.funnel(metrics, overview, methods, names, 0.3)
    top1 = metrics["methods"]["cam"]["top1_loc"]["0.3"]
    assert [bar.count for bar in bars[:2]] == [23, 22]
    assert bars[2].count == round(22 * metrics["classification"]["top1"]["value"])
    assert bars[3].count == round(top1["n"] * top1["value"]) and len(bars) == 4


def test_histogram_and_curves_hold_every_image_and_the_used_threshold(scored):
    methods = ["cam", "gradcam"]
    overview, metrics = read_overview(scored, methods), scored.read_json("metrics.json")
    names = charts.titles(methods, overview)
    found = charts.histogram(overview, methods, names)
    [(name, _, shares)] = found.series
    assert name == "cam = gradcam" and sum(shares) == pytest.approx(1) and max(shares) <= found.top <= 1
    panels = charts.curves(metrics, names, 0.2)
    assert [panel.delta for panel in panels] == ["0.3", "0.5", "0.7"]
    for panel in panels:
        [line] = panel.lines
        assert dict(line.points)[0.2] == line.used.value
        assert line.best.value == max(value for _, value in line.points)
        assert [name for name, _, _ in panel.references] == ["centre Gaussian", "whole image"]


def test_a_page_that_grows_too_large_drops_later_methods(scored, monkeypatch):
    """The first method is always there, the others as far as there is room."""
    from dataclasses import replace

    overview = replace(read_overview(scored, ["cam", "gradcam"]), same_as={})
    recipe = scored.recipe()
    shown, left_out = gallery.galleries(scored, overview, recipe)
    assert [one.method for one in shown] == ["cam", "gradcam"] and left_out == []
    monkeypatch.setattr(gallery, "BUDGET", 1000)
    shown, left_out = gallery.galleries(scored, overview, recipe)
    assert [one.method for one in shown] == ["cam"] and left_out == ["gradcam"]
    assert [len(selection.cards) for selection in shown[0].selections] == [12, 12, 12]


def test_the_best_boxes_by_quality_and_groups_of_them():
    def overview(iou, quality):
        rows = {"method": np.zeros(len(iou), np.int16), "target_rank": np.zeros(len(iou), np.int8)}
        return Overview(rows | {"label": np.zeros(len(iou), np.int32), "iou": iou, "quality": quality}, {}, {})

    quality = np.linspace(0, 1, 20, dtype=np.float32)
    iou = np.where(quality > 0.5, 0.5, 0.49).astype(np.float32)
    trust = charts.trust(overview(iou, quality), 0, 0)
    assert trust.auroc["value"] == 1 and trust.auroc["n"] == 20 and trust.right == 0.5
    assert trust.kept[:5] == [(share / 10, 1.0) for share in range(1, 6)] and trust.kept[9] == (1.0, 0.5)
    assert [value for _, value in trust.reliability] == [0.0] * 5 + [1.0] * 5
    unknown = np.full(20, np.nan, np.float32)
    for one in ((iou, unknown), (unknown, quality), (np.ones(20, np.float32), quality)):
        assert charts.trust(overview(*one), 0, 0) is None
