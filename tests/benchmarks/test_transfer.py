"""The double loop that eq. (7) in linear time is compared with gives the same value."""

import numpy as np
import pytest

from slicing_rllib.benchmarks.transfer import _draw_population, compute_kl_by_double_loop
from slicing_rllib.transfer.distances import kl_paper


def test_both_ways_to_compute_eq_7_agree():
    rng = np.random.default_rng(0)
    source, target = _draw_population(rng, 20), _draw_population(rng, 30)

    distance = kl_paper([source, target])[0, 1]

    assert distance == pytest.approx(compute_kl_by_double_loop(source, target))
