"""Colours of the satisfaction map."""

import numpy as np

from slicing_rllib.env.rendering import satisfaction_map


def test_each_position_has_the_colour_of_its_cell():
    """Cell 0 on the left has full satisfaction (teal); cell 1 on the right is off (grey)."""
    serving = np.repeat([[0, 0, 0, 1, 1, 1]], 4, axis=0)
    picture = satisfaction_map(serving, np.array([1.0, 0.0]), np.array([True, False]))

    assert picture.shape == (4, 6, 3)
    assert picture[2, 1].tolist() == [25, 140, 140]
    assert picture[2, 4].tolist() == [204, 204, 204]


def test_borders_between_cells_are_darker():
    serving = np.repeat([[0, 0, 0, 1, 1, 1]], 4, axis=0)
    picture = satisfaction_map(serving, np.ones(2), np.ones(2, bool))

    assert (picture[:, 2] < picture[:, 1]).all()


def test_levels_of_satisfaction_have_different_colours():
    serving = np.array([[0, 0, 1, 1, 2, 2]])
    picture = satisfaction_map(serving, np.array([0.2, 0.7, 1.0]), np.ones(3, bool))

    assert len({tuple(picture[0, x]) for x in (0, 2, 4)}) == 3
