from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.batch import Batch, take
from stages.classify.stage import Classify
from stages.errors import ConfigurationError
from stages.explain.registry import closed_form, same_maps, single_pass
from stages.explain.stage import Explain
from stages.trace.views import Views
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
    seen = classify(image_batch(4))
    trace, top = seen.context["trace"], seen.rows["top_class"]
    answer = Explain(["cam", "gradcam"], ["label", "top3"])(dict(seen.rows), trace)
    rows = answer.rows
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
    assert set(answer.seconds) == {"explain/cam", "explain/gradcam"}


def test_a_map_that_is_not_finite_keeps_its_row(classify):
    seen = classify(image_batch(3))
    with torch.no_grad():
        seen.context["trace"].activations[0, 0, 0, 0] = float("inf")
    rows = Explain(["cam"], ["top1"])(seen.rows, **seen.context).rows
    assert len(rows["map"]) == 3
    assert not np.isfinite(rows["map"][0]).all() and np.isfinite(rows["map"][1]).all()


def test_predictions_do_not_depend_on_the_batch(classify):
    whole = classify(image_batch(4)).rows
    single = classify(take(image_batch(4), slice(2, 3))).rows
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


@pytest.mark.parametrize("name", ["gradcam", "xgradcam", "hirescam", "layercam", "sharpen-focus"])
def test_equals_are_computed_once_and_their_bytes_do_not_depend_on_the_company(classify, name):
    representative = "positive-cam" if name in ("layercam", "sharpen-focus") else "cam"
    seen = classify(image_batch(4))
    alone, company = (
        Explain(names, ["top2"])(dict(seen.rows), **seen.context).rows
        for names in ([name], ["cam", "positive-cam", name])
    )
    own, other = company["method"] == name, company["method"] == representative
    for column in ("map", "map_scale"):
        assert b"".join(map(bytes, alone[column])) == b"".join(map(bytes, company[column][own]))
    assert all(np.array_equal(a, b) for a, b in zip(company["map"][own], company["map"][other], strict=True))
    np.testing.assert_allclose(company["map_scale"][own] * 64, company["map_scale"][other], rtol=1e-6)


def test_on_another_head_nothing_is_the_same():
    names = [name for name, one in single_pass().items() if not one.needs_linear_head]
    assert same_maps({name: closed_form(name, False, [1.0])[0].name for name in names}) == {}
    assert closed_form("gradcam", False, [1.0]) == (single_pass()["gradcam"], False)


def test_what_is_the_same_names_the_first_that_is_asked_for():
    def same(names: list[str], scales: list[float]) -> dict[str, str]:
        return same_maps({name: closed_form(name, True, scales)[0].name for name in names})

    assert same(["gradcam", "gradcam++", "cam", "layercam", "positive-cam"], [1.0]) == {
        "cam": "gradcam",
        "positive-cam": "layercam",
    }
    # Views of several sizes have different h w: a mean of CAMs is no mean of Grad-CAMs.
    names = ["cam", "gradcam", "hirescam", "sharpen-focus", "layercam"]
    assert same(names, [1.0, 1.5]) == {"hirescam": "gradcam", "layercam": "sharpen-focus"}


def test_closed_forms_of_several_views_are_the_methods_own(classify):
    """What a method's own function gives on every view, against what the stage stores."""
    for scales in ([1.0], [1.0, 1.5]):
        for name, one in single_pass().items():
            if not one.same_as:
                continue
            seen = classify(image_batch(3))
            trace, top = seen.context["trace"], torch.from_numpy(seen.rows["top_class"][:, 0].astype(np.int64))
            expected = Views(trace, True, scales).explain(one.function, top).numpy()
            rows = Explain([name], ["top1"], True, scales)(seen.rows, trace).rows
            found = np.stack(list(rows["map"])).astype(np.float32) * rows["map_scale"][:, None, None]
            np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
