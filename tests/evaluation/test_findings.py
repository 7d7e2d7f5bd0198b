"""Paired differences of a run's policies, and the sentences that say them."""

import numpy as np
import pytest

from slicing_rllib.evaluation.findings import (
    Compared,
    compare_policies,
    describe_differences,
    find_best_rule,
)
from slicing_rllib.evaluation.rollout import Rollout

CELLS = tuple(f"cell_{k}" for k in range(1, 13))
COMPARED = Compared(CELLS, "td3_transferred", "td3", ("cell_12",), ("per_slice",))


def make_rollout(reward: float, last: float | None = None) -> Rollout:
    """Two steps of twelve cells with that reward, another one in the last cell."""
    rewards = np.full((2, 12), reward)
    rewards[:, -1] = reward if last is None else last
    return Rollout(
        reward=rewards,
        satisfaction=rewards,
        delay_max_ms=rewards,
        delay_to_sla_max=rewards,
        live=np.ones((2, 12), bool),
        throughput_mbps=rewards[:, :, None],
        delay_ms=rewards[:, :, None],
        prb_ratio=rewards[:, :, None],
        active_ues=np.ones(2),
        hour=np.full(2, -1),
    )


ROLLOUTS = {
    "td3": [make_rollout(0.8, 0.3), make_rollout(0.6, 0.1)],
    "td3_transferred": [make_rollout(0.8, 0.7), make_rollout(0.6, 0.5)],
    "per_slice": [make_rollout(0.9), make_rollout(0.7)],
    "equal": [make_rollout(0.5), make_rollout(0.3)],
    "persistence": [make_rollout(0.85), make_rollout(0.65)],
    # It knows the future: no rule that a real network could run.
    "traffic_aware": [make_rollout(1.0), make_rollout(1.0)],
}


def test_the_best_rule_is_one_that_knows_only_the_past():
    assert find_best_rule(ROLLOUTS) == "persistence"
    assert find_best_rule({"traffic_aware": ROLLOUTS["traffic_aware"]}) is None


def test_differences_are_paired_by_seed_and_of_the_joined_cell_where_it_was_transferred():
    found = compare_policies(COMPARED, ROLLOUTS)
    pairs = [(each["ours"], each["theirs"], each["cells"]) for each in found]

    assert pairs == [
        ("td3_transferred", "td3", ["cell_12"]),
        ("td3_transferred", "persistence", None),
        ("per_slice", "persistence", None),
        ("per_slice", "td3_transferred", None),
    ]
    assert found[0]["reward"]["mean"] == pytest.approx(0.4)
    # The same in both seeds, so the interval has no width although the seeds differ by .2.
    assert found[0]["reward"]["ci95"] == pytest.approx((0.4, 0.4))
    assert found[0]["seeds"] == 2


def test_sentences_say_what_was_seen_and_what_was_not():
    found = compare_policies(COMPARED, ROLLOUTS)
    transfers = {"cell_12": {"source": "cell_5"}}
    first, *_, last = describe_differences(found, transfers, 3)

    assert first.startswith("td3_transferred in cell_12, started from cell_5, earned 0.400 more")
    assert "2 seeds of traffic" in first
    assert "seed 3" in last


def test_an_interval_with_zero_in_it_is_no_certain_difference():
    rollouts = {
        "td3_transferred": [make_rollout(0.5), make_rollout(0.7)],
        "equal": [make_rollout(0.6), make_rollout(0.5)],
    }
    (sentence, _) = describe_differences(compare_policies(COMPARED, rollouts), {}, 3)

    assert "shows no certain difference of reward (+0.050) from equal" in sentence
