"""The choice of a source and its evidence."""

import numpy as np
import pytest

from slicing_rllib.transfer.decision import (
    CellSamples,
    choose_source,
    compute_distances,
    decide_from_distances,
)
from slicing_rllib.transfer.transfer_settings import VaeSettings

VAE = VaeSettings(updates=100, members=2)


def make_cells(**shifts):
    """Samples around a level of each cell; all cells have the same SLA."""
    rng = np.random.default_rng(0)
    return {
        name: CellSamples(shift + rng.standard_normal((100, 6)), np.array([4.0, 1.0]))
        for name, shift in shifts.items()
    }


@pytest.mark.equation(10)
def test_the_nearest_source_is_chosen_and_the_reason_is_stated():
    decision = choose_source("new", make_cells(near=0.2, far=4.0, new=0.0), "mean_shift", VAE, 0)

    assert (decision.source, decision.runner_up) == ("near", "far")
    assert decision.distance == decision.distances["near"] < decision.distances["far"]
    assert decision.confidence == 1.0
    assert "nearest by mean_shift" in decision.why


def test_two_similar_sources_lower_the_confidence():
    decision = choose_source("new", make_cells(one=1.0, other=1.0, new=0.0), "mean_shift", VAE, 0)

    assert decision.confidence is not None
    assert decision.confidence < 1.0


def test_no_source_is_chosen_when_the_nearest_is_too_far():
    """Two sources are near each other; the target is far from both."""
    found = make_cells(one=0.0, other=0.5, new=30.0)
    decision = choose_source("new", found, "raw", VAE, 0, max_distance_ratio=3.0)

    assert decision.source is None
    assert "no source is good enough" in decision.why
    assert decision.ranking == sorted(decision.distances, key=decision.distances.__getitem__)


def test_the_same_seed_gives_the_same_decision():
    found = make_cells(one=0.3, other=0.4, new=0.0)

    assert choose_source("new", found, "frechet", VAE, 7) == choose_source(
        "new", found, "frechet", VAE, 7
    )


def test_distances_are_given_for_every_pair_and_every_model_of_the_ensemble():
    found = compute_distances(make_cells(a=0.0, b=1.0, c=2.0), "mean_shift", VAE, 0)

    assert found.names == ("a", "b", "c")
    assert found.per_member.shape == (2, 3, 3)


def test_a_target_without_any_source_is_an_error():
    with pytest.raises(ValueError, match="at least one candidate"):
        choose_source("new", make_cells(new=0.0), "raw", VAE, 0)


def test_the_source_with_the_highest_return_is_first_when_distances_are_negated_returns():
    decision = decide_from_distances("new", {"good": -0.9, "bad": -0.1}, "zero_shot")

    assert decision.ranking == ["good", "bad"]
