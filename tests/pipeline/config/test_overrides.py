"""Python values arrive in a configuration as what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.config.overrides import as_arguments
from stages.errors import ConfigurationError


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("box.threshold", 1e-05, 1e-05),
        ("box.threshold", np.float64(0.25), 0.25),
        ("evaluate.iou", (0.3, np.float32(0.5)), [0.3, 0.5]),
        ("evaluate.iou", np.array([0.25, 0.5]), [0.25, 0.5]),
        ("data.sample", None, None),
        ("explain.flip", True, True),
        ("explain.methods", ["gradcam@features.3", "gradcam++"], ["gradcam@features.3", "gradcam++"]),
        ("model.spec", "file:a b.pt?arch=lite0&num_classes=10", None),
        ("data.root", Path("/a: b/#1"), "/a: b/#1"),
        ("data.root", "/" + "long name " * 40 + "'ü\n", "/" + "long name " * 40 + "'ü\n"),
        ("data.split", "yes", "yes"),
        ("data.split", "007", "007"),
    ],
)
def test_values_arrive_as_they_are(tiny, key, value, expected):
    section, _, name = key.partition(".")
    found = getattr(getattr(tiny(*as_arguments({key: value})), section), name)
    if key == "model.spec":
        assert found == f"file:{Path('a b.pt').resolve()}?arch=lite0&num_classes=10"
    else:
        assert found == expected and type(found) is type(expected)


def test_written_ones_stay_as_they_are():
    assert as_arguments(["box.threshold=0.1"]) == ["box.threshold=0.1"] and as_arguments(()) == []


def test_what_no_file_can_hold_is_refused():
    with pytest.raises(ConfigurationError, match=r"data\.root: object is not a value"):
        as_arguments({"data.root": object()})
