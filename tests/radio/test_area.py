"""Distances and coordinates on the simulated area."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.radio.sites import Area, hexagonal_torus

TORUS = Area(origin_m=(0.0, 0.0), edges_m=hexagonal_torus(2, 2, 500.0), wraps=True)
BOX = Area(origin_m=(-10.0, 0.0), edges_m=((100.0, 0.0), (0.0, 50.0)), wraps=False)
points = st.tuples(st.floats(-3000, 3000), st.floats(-3000, 3000)).map(np.array)


@given(points, points, st.integers(-3, 3), st.integers(-3, 3))
def test_distances_do_not_change_when_a_point_moves_around_the_torus(start, end, rows, columns):
    periods = np.array([rows, columns]) @ np.array(TORUS.edges_m)

    plain = np.linalg.norm(TORUS.displacements_m(start, end))
    moved = np.linalg.norm(TORUS.displacements_m(start, end + periods))

    assert moved == pytest.approx(plain, abs=1e-6)


@given(points, points)
def test_no_image_of_a_point_is_nearer_than_the_displacement(start, end):
    edges = np.array(TORUS.edges_m)
    images = [end + np.array([i, j]) @ edges for i in range(-9, 10) for j in range(-9, 10)]
    nearest = min(np.linalg.norm(image - start) for image in images)

    assert np.linalg.norm(TORUS.displacements_m(start, end)) == pytest.approx(nearest, abs=1e-6)


@given(points)
def test_fractions_and_metres_are_inverse(point):
    back = TORUS.metres(TORUS.fractions(point))
    assert TORUS.displacements_m(point, back) == pytest.approx([0, 0], abs=1e-6)
    assert BOX.metres(BOX.fractions(point)) == pytest.approx(point, abs=1e-6)


def test_the_grid_covers_the_area_evenly():
    shape = BOX.grid_shape(10.0)
    assert shape == (10, 5)
    assert BOX.grid_m(shape)[0, 0] == pytest.approx([-5.0, 5.0])
    assert BOX.grid_m(shape)[-1, -1] == pytest.approx([85.0, 45.0])
