"""Colours of the map."""

import numpy as np

from slicing_rllib.env.rendering import satisfaction_map


def test_each_place_has_the_colour_of_its_cell():
    """Left half cell 0, fully served: teal; right half cell 1, off: grey."""
    serving = np.repeat([[0, 0, 0, 1, 1, 1]], 4, axis=0)
    picture = satisfaction_map(serving, np.array([1.0, 0.0]), np.array([True, False]))

    assert picture.shape == (4, 6, 3)
    assert picture[2, 1].tolist() == [25, 140, 140]
    assert picture[2, 4].tolist() == [204, 204, 204]


def test_where_cells_meet_a_line_is_drawn():
    serving = np.repeat([[0, 0, 0, 1, 1, 1]], 4, axis=0)
    picture = satisfaction_map(serving, np.ones(2), np.ones(2, bool))

    assert (picture[:, 2] < picture[:, 1]).all()


def test_worse_service_has_another_colour():
    serving = np.array([[0, 0, 1, 1, 2, 2]])
    picture = satisfaction_map(serving, np.array([0.2, 0.7, 1.0]), np.ones(3, bool))

    assert len({tuple(picture[0, x]) for x in (0, 2, 4)}) == 3
