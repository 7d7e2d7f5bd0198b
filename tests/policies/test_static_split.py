"""The best constant split is fitted on separate traffic."""

import numpy as np
import pytest

from slicing_rllib.policies.baselines import _search_split, fit_static


def test_the_search_finds_a_split_in_proportion_to_constant_needs():
    """Without load, shares of .6, .2, .133 and .067 just meet needs of these sizes."""
    needed = np.tile([0.6, 0.2, 0.133, 0.066], (3, 1))

    split = _search_split(np.zeros((3, 4)), needed, np.random.default_rng(1))

    assert np.min(split / needed[0]) > 0.9


@pytest.mark.slow
def test_equal_generators_give_equal_splits(scenario):
    splits = [fit_static(scenario, np.random.default_rng(4), map_seed=0).split for _ in range(2)]

    assert np.array_equal(*splits)
    assert splits[0].sum(axis=1) == pytest.approx(1.0)
