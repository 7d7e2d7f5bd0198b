"""The best static split is found on traffic of its own."""

import numpy as np
import pytest

from slicing_rllib.baselines.static_split import _search, fit_static


def test_the_search_finds_the_split_of_a_constant_need():
    """Needs of .45, .15, .1 and .05 without load: in proportion, .6 .2 .133 .067, all satisfied."""
    needed = np.tile([0.6, 0.2, 0.133, 0.066], (3, 1))

    split = _search(np.zeros((3, 4)), needed, np.random.default_rng(1))

    assert np.min(split / needed[0]) > 0.9


def test_equal_generators_find_equal_splits(scenario):
    splits = [fit_static(scenario, np.random.default_rng(4), map_seed=0).split for _ in range(2)]

    assert np.array_equal(*splits)
    assert splits[0].sum(axis=1) == pytest.approx(1.0)
