"""Gaussian fields have unit variance and the requested correlation."""

import numpy as np
import pytest

from slicing_rllib.radio.gain_map import FieldSampler
from slicing_rllib.radio.sites import Area

TORUS = Area(origin_m=(0.0, 0.0), edges_m=((1000.0, 0.0), (500.0, 866.0)), wraps=True)
BOX = Area(origin_m=(0.0, 0.0), edges_m=((1000.0, 0.0), (0.0, 800.0)), wraps=False)


@pytest.mark.parametrize("area", [TORUS, BOX], ids=["torus", "box"])
def test_correlation_is_1_over_e_at_the_correlation_distance(area):
    shape = area.grid_shape(10.0)
    sampler = FieldSampler(area, shape, 50.0)
    fields = np.stack([sampler.draw(np.random.default_rng(seed)) for seed in range(60)])

    assert fields.shape[1:] == shape
    assert fields.std() == pytest.approx(1.0, abs=0.03)
    nearby = (fields[:, :-5] * fields[:, 5:]).mean()
    assert nearby == pytest.approx(np.exp(-1), abs=0.05)


def test_opposite_edges_are_correlated_on_a_torus_and_uncorrelated_between_walls():
    for area, expected in ((TORUS, np.exp(-10 / 50)), (BOX, 0.0)):
        sampler = FieldSampler(area, area.grid_shape(10.0), 50.0)
        fields = np.stack([sampler.draw(np.random.default_rng(seed)) for seed in range(60)])
        assert (fields[:, 0] * fields[:, -1]).mean() == pytest.approx(expected, abs=0.06)
