"""Choosing a source."""

import numpy as np
import pytest

from slicing_rllib.transfer.decision import CellSamples, choose, distances_between, from_distances
from slicing_rllib.transfer.settings import VaeSettings

VAE = VaeSettings(updates=100, members=2)


def cells(**shifts):
    """[s, r] around a level of one's own, all promised the same."""
    rng = np.random.default_rng(0)
    return {
        name: CellSamples(shift + rng.standard_normal((100, 6)), np.array([4.0, 1.0]))
        for name, shift in shifts.items()
    }


@pytest.mark.equation(10)
def test_the_nearest_is_chosen_and_said_why():
    decision = choose("new", cells(near=0.2, far=4.0, new=0.0), "mean_shift", VAE, 0)

    assert (decision.source, decision.runner_up) == ("near", "far")
    assert decision.distance == decision.distances["near"] < decision.distances["far"]
    assert decision.confidence == 1.0
    assert "nearest by mean_shift" in decision.why


def test_two_alike_candidates_leave_doubt():
    decision = choose("new", cells(one=1.0, other=1.0, new=0.0), "mean_shift", VAE, 0)

    assert decision.confidence is not None
    assert decision.confidence < 1.0


def test_no_source_is_good_enough():
    """Two alike sources, and a target that is nothing like either."""
    found = cells(one=0.0, other=0.5, new=30.0)
    decision = choose("new", found, "raw", VAE, 0, max_distance_ratio=3.0)

    assert decision.source is None
    assert "no source is good enough" in decision.why
    assert decision.ranking == sorted(decision.distances, key=decision.distances.__getitem__)


def test_the_same_seed_decides_the_same():
    found = cells(one=0.3, other=0.4, new=0.0)

    assert choose("new", found, "frechet", VAE, 7) == choose("new", found, "frechet", VAE, 7)


def test_all_pairs_for_every_model_of_the_ensemble():
    found = distances_between(cells(a=0.0, b=1.0, c=2.0), "mean_shift", VAE, 0)

    assert found.names == ("a", "b", "c")
    assert found.per_member.shape == (2, 3, 3)


def test_a_target_alone_has_nobody_to_learn_from():
    with pytest.raises(ValueError, match="at least one candidate"):
        choose("new", cells(new=0.0), "raw", VAE, 0)


def test_returns_are_distances_the_other_way_round():
    decision = from_distances("new", {"good": -0.9, "bad": -0.1}, "zero_shot")

    assert decision.ranking == ["good", "bad"]
