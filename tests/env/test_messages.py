"""Eq. (5) and the other messages."""

import numpy as np
import pytest

from slicing_rllib.env.messages import all_cells, mean_load, per_neighbour

LOAD = np.array([[0.9], [0.2], [0.6]])


@pytest.mark.equation(5)
def test_the_message_is_the_mean_load_of_the_neighbours():
    """Loads of .2 and .6 give a message of .4; one neighbour gives its load, none gives 0."""
    message = mean_load(np.array([[1, 2], [0, -1], [-1, -1]]))(LOAD)

    assert message == pytest.approx(np.array([[0.4], [0.9], [0.0]]))


def test_per_neighbour_lists_the_load_of_each_neighbour():
    message = per_neighbour(np.array([[1, 2], [0, -1], [-1, -1]]))(LOAD)

    assert message == pytest.approx(np.array([[0.2, 0.6], [0.9, 0.0], [0.0, 0.0]]))


def test_all_cells_gives_every_cell_the_loads_of_all_cells():
    assert all_cells(LOAD) == pytest.approx(np.tile([0.9, 0.2, 0.6], (3, 1)))
