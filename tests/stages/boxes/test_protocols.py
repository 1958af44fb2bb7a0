"""Protocols are named, checked and fingerprinted."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from stages.boxes.protocols import PROTOCOLS, fingerprint, get_protocol
from stages.errors import ConfigurationError


def test_the_named_protocols_differ_where_they_should() -> None:
    assert get_protocol("cam2016").threshold == 0.2
    assert get_protocol("gradcam2017").threshold == 0.15
    assert get_protocol("choe2020").normalize == "minmax"
    assert len({fingerprint(protocol) for protocol in PROTOCOLS.values()}) == len(PROTOCOLS)


def test_fingerprint_is_of_the_rules_not_of_the_name_or_the_spelling() -> None:
    assert fingerprint(get_protocol("cam2016", threshold=0.15)) == fingerprint(get_protocol("gradcam2017"))
    assert fingerprint(get_protocol("cam2016", threshold=0)) == fingerprint(get_protocol("cam2016", threshold=0.0))
    assert fingerprint(get_protocol("cam2016")) == "456f49b8fd913b77"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cam2016", {"resize": "bicubic"}),
        ("cam2016", {"normalize": "minmax"}),
        ("cam2016", {"quantize": "uint8"}),
        ("cam2016", {"threshold": 0.3}),
        ("cam2016", {"connectivity": 4}),
        ("cam2016", {"component": "largest_contour"}),
        ("choe2020", {"v2_component": "chosen"}),
        ("cam2016", {"frame": "resized"}),
        ("choe2020", {"iou": "continuous"}),
        ("cam2016", {"empty": "origin"}),
        ("cam2016", {"sweep_interval": 0.05}),
        ("cam2016", {"percentile": 0.5}),
        ("choe2020", {"far_edge": "keep"}),
        ("cam2016", {"iou_comparator": ">"}),
        ("cam2016", {"topk_iou_comparator": ">"}),
        ("cam2016", {"official": "clsloc"}),
        ("cam2016", {"blacklist": "0123456789abcdef"}),
    ],
)
def test_every_rule_changes_the_fingerprint(name: str, change: dict) -> None:
    assert fingerprint(get_protocol(name, **change)) != fingerprint(get_protocol(name))


def test_unknown_names_point_to_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean cam2016"):
        get_protocol("cam2061")
    with pytest.raises(ConfigurationError, match=r"treshold.*did you mean threshold"):
        get_protocol("cam2016", treshold=0.1)
    with pytest.raises(ConfigurationError, match="unknown field 'name'"):
        get_protocol("cam2016", name="mine")


@pytest.mark.parametrize(
    "bad",
    [
        {"threshold": 1},
        {"threshold": -0.1},
        {"threshold": float("nan")},
        {"threshold": True},
        {"threshold": "0.2"},
        {"sweep_interval": 0},
        {"connectivity": 6},
        {"connectivity": True},
        {"normalize": "softmax"},
        {"resize": ["bilinear"]},
        {"connectivity": 4, "component": "largest_contour"},
        {"v2_component": "all_contours"},
        {"iou": "inclusive"},
        {"percentile": 1},
        {"far_edge": "keep"},
        {"empty": "corner"},
        {"official": "voc"},
    ],
)
def test_bad_values_name_their_field_in_one_line(bad: dict) -> None:
    with pytest.raises(ConfigurationError) as caught:
        get_protocol("cam2016", **bad)
    assert caught.value.about in {f"protocol.{key}" for key in bad} and "\n" not in str(caught.value)


def test_every_field_is_documented() -> None:
    import inspect

    source = inspect.getsource(type(get_protocol("cam2016")))
    for field in fields(get_protocol("cam2016")):
        after = source.split(f"    {field.name}: ", 1)[1].split("\n", 2)[1]
        assert after.strip().startswith('"""'), field.name


def test_sweep_has_the_fixed_threshold_and_one_per_level() -> None:
    cam, choe = get_protocol("cam2016"), get_protocol("choe2020")
    assert len(cam.sweep_thresholds()) == 100
    assert cam.cutoffs(np.array([cam.threshold]))[0] in cam.cutoffs(cam.sweep_thresholds())
    grid = np.arange(0, 1, 0.001)
    levels = [int(threshold * 255) for threshold in grid]
    kept = choe.sweep_thresholds()
    assert kept.tolist() == [grid[levels.index(level)] for level in range(255)]
    np.testing.assert_array_equal(choe.cutoffs(kept), (np.arange(255) / 255).astype(np.float32))
