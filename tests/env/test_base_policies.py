"""The rules that actors can correct: what they remember, and their splits in numbers."""

import numpy as np
import pytest

from slicing_rllib.env import Deployment, Measured, SlicingEnv
from slicing_rllib.env.base_policies import Smoothing, smooth
from slicing_rllib.env.measurement import stack_reports
from slicing_rllib.radio import Phase, make_scenario
from slicing_rllib.registry import get_part, list_names


def make_report(kpis, offered, needed, phase=Phase.CONTROLLED):
    shape = np.shape(offered)
    kpis = kpis._replace(phase=np.full(shape[0], int(phase)))
    return Measured(kpis, np.array(offered, float), np.array(needed, float))


@pytest.fixture
def kpis():
    env = SlicingEnv(make_scenario("paper"))
    env.reset_batched(0)
    return env.kpis


def test_the_average_begins_with_the_oldest_report():
    """Weights .6, .24, .096 and .064: reports of 1, 0, 0, 0 give .6, of 0, 0, 0, 1 give .064."""
    reports = np.eye(4)[:, :, None]

    assert smooth(reports, 0.6)[:, 0] == pytest.approx([0.6, 0.24, 0.096, 0.064])
    assert smooth(reports, 1.0)[:, 0] == pytest.approx([1.0, 0.0, 0.0, 0.0])


def test_smoothed_persistence_is_the_best_split_for_smoothed_shares_and_hedged(kpis):
    """Offered nothing, needed .2 and .2, then .7 and .1: smoothed .5 and .14, with hedge 25/32."""
    older, newer = (make_report(kpis, [[0.0, 0.0]], [need]) for need in ([0.2, 0.2], [0.7, 0.1]))

    split = get_part("base_policy", "smoothed_persistence")([older, newer], Smoothing())

    assert split == pytest.approx(np.array([[0.9 * 50 / 64 + 0.05, 0.9 * 14 / 64 + 0.05]]))


def test_without_smoothing_and_hedge_it_is_persistence(kpis):
    reports = [make_report(kpis, [[0.3, 0.1]], [[0.2, need]]) for need in (0.9, 0.1)]
    alone = Smoothing(weight=1.0, hedge=0.0)

    split = get_part("base_policy", "smoothed_persistence")(reports, alone)

    assert split == pytest.approx(get_part("base_policy", "persistence")(reports, alone))


def test_load_proportional_shares_follow_the_last_offered_share(kpis):
    """Offered .6 and .2: three quarters and one quarter; without traffic equal shares."""
    report = make_report(kpis, [[0.6, 0.2], [0.0, 0.0]], [[0.1, 0.1], [0.1, 0.1]])

    split = get_part("base_policy", "load_proportional")([report, report], Smoothing())

    assert split == pytest.approx(np.array([[0.75, 0.25], [0.5, 0.5]]))


def test_a_report_of_a_cell_that_was_off_counts_as_missing(kpis):
    off = make_report(kpis, [[9.0, 9.0]], [[9.0, 9.0]], Phase.OFF)
    live = make_report(kpis, [[0.3, 0.1]], [[0.2, 0.1]])

    stacked = stack_reports([off, live], lambda report: report.offered)

    assert stacked[:, 0] == pytest.approx(np.tile([0.3, 0.1], (4, 1)))


@pytest.mark.parametrize("base_policy", list_names("base_policy"))
def test_a_restored_environment_remembers_the_same_reports(base_policy):
    def make():
        joins = (Deployment(cell="cell_2", off_until=2, default_action_until=4),)
        return SlicingEnv(
            make_scenario("paper"),
            observation="per_slice",
            base_policy=base_policy,
            deployments=joins,
        )

    action = np.random.default_rng(0).dirichlet(np.ones(4), (8, 12)).astype(np.float32)
    env, restored = make(), make()
    env.reset_batched(1)
    for own in action[:4]:
        env.step_batched(own)
    restored.restore_state(env.checkpoint_state())

    for own in action[4:]:
        assert np.array_equal(env.step_batched(own).obs, restored.step_batched(own).obs)


def test_an_unknown_base_policy_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match=r"base_policy: expected one of persistence.*got 'best'"):
        SlicingEnv(make_scenario("paper"), base_policy="best")
