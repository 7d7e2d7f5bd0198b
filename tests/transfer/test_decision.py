"""The choice of a source and its evidence: by a measure, prescribed, by a control, or none."""

import numpy as np
import pytest

from slicing_rllib.transfer.decision import (
    CellSamples,
    SelectionProblem,
    choose_source,
    compute_distances_by_measure,
    decide_by_returns,
    decide_from_distances,
    select_source,
)
from slicing_rllib.transfer.transfer_settings import TransferSettings, VaeSettings

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
    cells = make_cells(a=0.0, b=1.0, c=2.0)
    found = compute_distances_by_measure(cells, ["mean_shift"], VAE, 0)["mean_shift"]

    assert found.names == ("a", "b", "c")
    assert found.per_member.shape == (2, 3, 3)


def test_a_target_without_any_source_is_an_error():
    with pytest.raises(ValueError, match="at least one candidate"):
        choose_source("new", make_cells(new=0.0), "raw", VAE, 0)


def test_the_source_with_the_highest_return_is_first_when_distances_are_negated_returns():
    decision = decide_from_distances("new", {"good": -0.9, "bad": -0.1}, "zero_shot")

    assert decision.ranking == ["good", "bad"]


SHIFTS = {"near": 0.2, "middle": 2.0, "far": 4.0}


def make_samples(shift, n=60, sla=(4.0, 1.0)):
    joint = shift + np.random.default_rng(0).standard_normal((n, 6))
    return CellSamples(joint, np.array(sla))


def pose(*, n_samples=60, n_target_samples=60, prescribed=None, seed=0, refused=None, **settings):
    chosen = TransferSettings(vae=VaeSettings(updates=60, members=1), **settings)
    return SelectionProblem(
        target="new",
        samples=make_samples(0.0, n_target_samples),
        candidates={name: make_samples(shift, n_samples) for name, shift in SHIFTS.items()},
        refused=refused or {},
        prescribed_source=prescribed,
        settings=chosen,
        seed=seed,
    )


def test_a_measure_selects_the_nearest_source():
    decision = select_source(pose(measure="raw"))

    assert (decision.source, decision.measure) == ("near", "raw")


def test_the_control_worst_selects_the_farthest_source():
    decision = select_source(pose(measure="worst"))

    assert (decision.source, decision.measure) == ("far", "worst")
    assert decision.runner_up == "near"


def test_the_control_random_depends_on_the_seed_alone():
    chosen = [select_source(pose(measure="random", seed=seed)).source for seed in range(20)]

    assert set(chosen) == set(SHIFTS)
    assert chosen[3] == select_source(pose(measure="random", seed=3)).source


def test_a_prescribed_source_is_selected_and_distances_are_reported():
    decision = select_source(pose(measure="raw", prescribed="far"))

    assert (decision.source, decision.runner_up) == ("far", "near")
    assert decision.distance == max(decision.distances.values())


@pytest.mark.parametrize(
    ("refused", "reason"),
    [({}, "gone is not there"), ({"gone": "still explores"}, "gone still explores")],
)
def test_a_prescribed_source_that_cannot_be_used_gives_no_source(refused, reason):
    decision = select_source(pose(prescribed="gone", refused=refused))

    assert decision.source is None
    assert reason in decision.why


def test_cells_with_too_few_samples_are_not_compared():
    of_target = select_source(pose(n_target_samples=19))
    of_sources = select_source(pose(n_samples=19))

    assert of_target.source is of_sources.source is None
    assert "19 samples under the default action, expected 20" in of_target.why
    assert "near has too few samples" in of_sources.why


def test_the_measure_sla_needs_no_samples():
    assert select_source(pose(measure="sla", n_samples=0, n_target_samples=0)).source == "near"


def test_the_highest_return_is_selected():
    decision = decide_by_returns("new", {"one": 0.2, "other": 0.9}, {})

    assert (decision.source, decision.distance) == ("other", -0.9)
    assert decide_by_returns("new", {}, {"one": "still explores"}).source is None
