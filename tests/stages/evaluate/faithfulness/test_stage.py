"""The stage behind Explain, and its counts."""

from __future__ import annotations

import numpy as np
import pytest

from stages.batch import Batch
from stages.classify.stage import Classify
from stages.evaluate.faithfulness import counts
from stages.evaluate.faithfulness.stage import Faithfulness
from stages.evaluate.statistics import bootstrap
from stages.explain.stage import Explain
from stages.trace.trace import Trace
from tests.stages.evaluate.faithfulness import slow
from tests.stages.toys import tiny_network

METRICS = ["average_drop", "road", "complexity"]


@pytest.fixture(scope="module")
def classify() -> Classify:
    stage = Classify("python:tests.stages.toys:tiny_network", tiny_network().weights_sha256, "last", 32)
    stage.setup()
    return stage


def images(rows: list[int]) -> Batch:
    pixels = np.random.default_rng(3).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    labels = np.array([4, -1, 0, 6])
    return {"image_id": np.arange(10, 14)[rows], "image": pixels[rows], "label": labels[rows]}


def explained(
    classify: Classify, rows: list[int], methods: tuple[str, ...] = ("cam", "layercam"), top: str = "top2"
) -> tuple[Batch, Trace]:
    seen = classify(images(rows))
    trace = seen.context["trace"]
    return Explain(list(methods), ["label", top])(seen.rows, trace).rows, trace


def test_the_first_predictions_map_is_scored(classify):
    batch, trace = explained(classify, [0, 1, 2, 3])
    answer = Faithfulness(METRICS, seed=5)(batch, trace)
    rows = answer.rows
    assert "trace_row" not in rows
    assert set(answer.seconds) == {f"faithfulness/{name}" for name in METRICS}
    first = rows["target_rank"] == 1
    assert np.isfinite(rows["faithfulness"][first]).all() and np.isnan(rows["faithfulness"][~first]).all()
    inputs = trace.inputs.double().numpy()
    for row in np.flatnonzero(first):
        image, raw = inputs[rows["image_id"][row] - 10], rows["map"][row].astype(float)

        def predict(altered: np.ndarray, row: int = row) -> float:
            logits = trace.network.logits(trace.inputs.new_tensor(altered[None]))
            return float(logits.softmax(1)[0, rows["class_index"][row]])

        expected = slow.drop(image, raw, predict)["average_drop"], slow.saliency(raw, 32).mean()
        assert rows["faithfulness"][row][[0, 2]] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_an_images_values_do_not_depend_on_its_batch(classify):
    stage = Faithfulness(METRICS, seed=5)
    together, alone = (stage(*explained(classify, rows)).rows for rows in ([0, 1, 2, 3], [2]))
    own = together["image_id"] == 12
    np.testing.assert_allclose(together["faithfulness"][own], alone["faithfulness"], atol=2e-5)


@pytest.mark.slow
def test_what_is_random_depends_on_the_seed(classify):
    one, other = (Faithfulness(["road"], seed=seed)(*explained(classify, [0])).rows for seed in (1, 2))
    assert not np.array_equal(one["faithfulness"], other["faithfulness"], equal_nan=True)


def test_methods_that_are_one_on_this_network_are_asked_about_once(classify):
    both, alone = (
        Faithfulness(METRICS)(*explained(classify, [0, 2], methods, "top1")).rows
        for methods in (("cam", "gradcam"), ("gradcam",))
    )
    for method in ("cam", "gradcam"):
        own = both["faithfulness"][both["method"] == method]
        assert np.array_equal(own, alone["faithfulness"], equal_nan=True)


def test_a_map_that_is_not_finite_has_no_value_and_harms_no_other(classify):
    (batch, trace), whole = explained(classify, [0, 1, 2]), explained(classify, [0, 1, 2])
    bad = np.flatnonzero((batch["image_id"] == 11) & (batch["target_rank"] == 1))
    for row in bad:
        batch["map"][row], batch["map_scale"][row] = np.full_like(batch["map"][row], np.nan), np.nan
    rows, expected = Faithfulness(METRICS)(batch, trace).rows, Faithfulness(METRICS)(*whole).rows
    assert np.isnan(rows["faithfulness"][bad]).all()
    expected["faithfulness"][bad] = np.nan
    np.testing.assert_allclose(rows["faithfulness"], expected["faithfulness"], atol=2e-5)


def test_counts_of_shards_add_up():
    rng = np.random.default_rng(0)
    values = rng.random((20, 2)).astype(np.float32)
    values[[3, 8], 0] = np.nan
    rows = {"method": np.array(["cam", "eigencam"], object)[rng.integers(0, 2, 20)], "faithfulness": values}
    shards = [
        counts.update({name: column[part] for name, column in rows.items()}, ["a", "b"])
        for part in (slice(0, 1), slice(1, 12), slice(12, 20))
    ]
    total: counts.Counts = {}
    for shard in reversed([*shards, {}]):
        total = counts.merge(total, counts.from_json(counts.to_json(shard)))
    for method in ("cam", "eigencam"):
        own = values[rows["method"] == method]
        found = counts.compute(total[method], seed=3)
        assert found["a"]["n"] == np.isfinite(own[:, 0]).sum() and found["b"]["n"] == len(own)
        assert found["a"] == bootstrap.mean(own[np.isfinite(own[:, 0]), 0], 3)


def test_a_metric_without_a_value_is_absent():
    rows = {"method": np.array(["cam"], object), "faithfulness": np.array([[np.nan, 1]], np.float32)}
    assert set(counts.compute(counts.update(rows, ["a", "b"])["cam"])) == {"b"}
    assert counts.update({}, ["a"]) == {}
