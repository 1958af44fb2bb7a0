from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.batch import Batch
from stages.classify.stage import Classify
from stages.errors import ConfigurationError
from stages.explain.stage import Explain
from tests.stages.toys import tiny_network

SPEC = "python:tests.stages.toys:tiny_network"
WEIGHTS = tiny_network().weights_sha256


@pytest.fixture(scope="module")
def classify() -> Classify:
    stage = Classify(SPEC, WEIGHTS, "last", 32)
    stage.setup()
    return stage


def image_batch(count: int) -> Batch:
    pixels = np.random.default_rng(3).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return {"image_id": np.arange(count), "image": pixels, "label": np.array([4, -1, 0, 6][:count])}


def test_rows_are_sorted_and_reproduce_the_raw_maps(classify):
    batch = classify(image_batch(4))
    trace, top = batch["trace"], batch["top_class"].copy()
    rows = Explain(["cam", "gradcam"], ["label", "top3"])(batch)
    keys = [(image, method, rank) for image in range(4) for method in ("cam", "gradcam") for rank in range(4)]
    keys = [key for key in keys if not (key[0] == 1 and key[2] == 0)]  # image 1 has no label
    assert list(zip(rows["image_id"], rows["method"], rows["target_rank"], strict=True)) == keys
    probs = trace.logits.softmax(1).detach().numpy()
    weight = classify.network.head.weight.detach().numpy()
    for row, (image, method, rank) in enumerate(keys):
        target = [4, -1, 0, 6][image] if rank == 0 else top[image, rank - 1]
        assert rows["class_index"][row] == target
        assert rows["prob"][row] == pytest.approx(probs[image, target])
        raw = np.tensordot(weight[target], trace.activations[image].detach().numpy(), 1)
        raw = raw / 64 if method == "gradcam" else raw
        assert rows["map"][row].dtype == np.float16
        assert rows["map_scale"][row] == pytest.approx(np.abs(raw).max(), rel=1e-5)
        np.testing.assert_allclose(
            rows["map"][row].astype(float) * rows["map_scale"][row], raw, atol=2e-3 * np.abs(raw).max()
        )
    assert "trace" not in rows and "probs" not in rows
    assert set(rows["seconds"]) == {"explain/cam", "explain/gradcam"}


def test_a_map_that_is_not_finite_keeps_its_row(classify):
    batch = classify(image_batch(3))
    with torch.no_grad():
        batch["trace"].activations[0, 0, 0, 0] = float("inf")
    rows = Explain(["cam"], ["top1"])(batch)
    assert len(rows["map"]) == 3
    assert not np.isfinite(rows["map"][0]).all() and np.isfinite(rows["map"][1]).all()


def test_predictions_do_not_depend_on_the_batch(classify):
    whole = classify(image_batch(4))
    single = image_batch(4)
    single = classify({name: column[2:3] for name, column in single.items()})
    np.testing.assert_allclose(single["probs"][0], whole["probs"][2], rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "message"),
    [("features.9", r"no layer 'features\.9'; nearest: .*features"), ("fc", r"shape \(2, 7\), not \(N, K, h, w\)")],
)
def test_a_layer_that_cannot_be_explained(layer, message):
    with pytest.raises(ConfigurationError, match=message):
        stage = Classify(SPEC, WEIGHTS, layer, 32)
        stage.setup()
        stage(image_batch(2))
