"""Further components, in a picture that is counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from stages.boxes.components import component_box
from stages.boxes.instances import further_components
from stages.boxes.protocols import get_protocol

HEAT = np.zeros((12, 20), np.float32)
HEAT[1:6, 1:5] = 0.5  # 20 pixels
HEAT[8:11, 10:14] = 0.6  # 12, with the peak
HEAT[9, 11] = 1.0
HEAT[1, 18:20] = 0.4  # 2: a tenth of 20
HEAT[11, 0] = 0.9  # 1: less
FIRST, SECOND, THIRD = [1, 1, 5, 6], [10, 8, 14, 11], [18, 1, 20, 2]


def found(**rules):
    protocol = get_protocol("cam2016", **rules)
    mask = HEAT > 0.2
    first = component_box(mask, protocol, HEAT)
    further = further_components(mask, HEAT, first, protocol)
    return first.tolist(), [(box.tolist(), round(peak, 3)) for box, peak in further]


@pytest.mark.parametrize("component", ["largest_pixels", "largest_contour"])
def test_those_of_a_tenth_of_the_first_by_size(component):
    assert found(component=component) == (FIRST, [(SECOND, 1.0), (THIRD, 0.4)])


def test_the_first_is_what_the_protocol_chooses():
    # A tenth of 12 pixels is more than the one in the corner.
    assert found(component="peak") == (SECOND, [(FIRST, 0.5), (THIRD, 0.4)])
    assert found(component="all") == ([0, 1, 20, 12], [])


def test_pixels_that_touch_at_a_corner():
    heat = np.eye(4, dtype=np.float32)
    for connectivity, count in ((8, 0), (4, 3)):
        protocol = get_protocol("cam2016", connectivity=connectivity)
        first = component_box(heat > 0, protocol, heat)
        assert len(further_components(heat > 0, heat, first, protocol)) == count
