"""Eq. (1): weights become shares of the carrier."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from slicing_rllib.env.action import prb_ratio_of

CELLS = ("cell_1", "cell_2")
BOTH = np.array([True, True])


@pytest.mark.equation(1)
def test_weights_are_scaled_to_sum_to_one():
    """Weights 1 and 3 of a cell: a quarter and three quarters."""
    ratio = prb_ratio_of(np.array([[1.0, 3.0], [2.0, 2.0]]), CELLS, BOTH)

    assert ratio == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))


def test_a_cell_that_does_not_decide_gets_equal_shares():
    ratio = prb_ratio_of(np.array([[np.nan, -1.0], [1.0, 3.0]]), CELLS, ~BOTH | [False, True])

    assert ratio[0] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("row", [[np.nan, 1.0], [np.inf, 1.0], [-0.1, 1.0], [0.0, 0.0]])
def test_weights_that_make_no_split_name_their_cell(row):
    with pytest.raises(ValueError, match="action of cell_2: expected finite, non-negative"):
        prb_ratio_of(np.array([[1.0, 1.0], row]), CELLS, BOTH)


@given(arrays(np.float64, (2, 4), elements=st.floats(1e-6, 1e6)))
def test_shares_sum_to_one(weights):
    assert prb_ratio_of(weights, CELLS, BOTH).sum(axis=1) == pytest.approx(1.0)
