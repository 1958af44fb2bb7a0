"""Cells that are no numbers teach nothing."""

import numpy as np

from stages.batch import ragged
from stages.explain.foreground.seeds import FiniteCells


def test_cells_that_are_not_finite_are_left_out():
    cells = np.arange(12, dtype=np.float32).reshape(4, 3)
    broken = cells.copy()
    broken[1, 2], broken[3, 0] = np.nan, np.inf
    kinds = np.array([True, False, True, False])
    found = FiniteCells()({"cells": ragged([broken, cells]), "foreground": ragged([kinds, kinds])})
    np.testing.assert_array_equal(found["cells"][0], cells[[0, 2]])
    np.testing.assert_array_equal(found["foreground"][0], [True, True])
    np.testing.assert_array_equal(found["cells"][1], cells)
