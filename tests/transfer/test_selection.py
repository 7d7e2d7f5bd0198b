"""Selection of a source: controls, prescribed sources, and reasons for none."""

import numpy as np
import pytest

from slicing_rllib.learning.replay import Transitions
from slicing_rllib.transfer.decision import CellSamples
from slicing_rllib.transfer.sources import (
    Candidate,
    SelectionProblem,
    select_by_return,
    select_source,
)
from slicing_rllib.transfer.transfer_settings import TransferSettings, VaeSettings

SHIFTS = {"near": 0.2, "middle": 2.0, "far": 4.0}
NO_EXPERIENCE = Transitions(*np.zeros((7, 0), np.float32))


def make_samples(shift, n=60, sla=(4.0, 1.0)):
    joint = shift + np.random.default_rng(0).standard_normal((n, 6))
    return CellSamples(joint, np.array(sla))


def pose(*, n_samples=60, n_target_samples=60, prescribed=None, seed=0, refused=None, **settings):
    chosen = TransferSettings(vae=VaeSettings(updates=60, members=1), **settings)
    return SelectionProblem(
        target="new",
        samples=make_samples(0.0, n_target_samples),
        candidates={
            name: Candidate({}, NO_EXPERIENCE, make_samples(shift, n_samples), True)
            for name, shift in SHIFTS.items()
        },
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
    decision = select_by_return("new", {"one": 0.2, "other": 0.9}, {})

    assert (decision.source, decision.distance) == ("other", -0.9)
    assert select_by_return("new", {}, {"one": "still explores"}).source is None
