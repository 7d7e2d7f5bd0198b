"""Pretraining raises the reward in networks with different numbers of slices."""

import numpy as np
import pytest

from slicing_rllib.env import ActorForm, SlicingEnv
from slicing_rllib.evaluation import rollout
from slicing_rllib.policies import BasePolicySplit, TrainedPolicy
from slicing_rllib.radio import draw_scenario
from slicing_rllib.runs.pretraining import PretrainingSettings, pretrain

pytestmark = pytest.mark.usefixtures("unchecked")


def test_a_few_rounds_beat_the_base_policy_in_the_networks_themselves():
    """Two networks, of two and of three slices; evaluated on other traffic."""
    # Networks in which the base policy earns .88 and .72.
    scenarios = [draw_scenario(np.random.default_rng(s), "net", (n,)) for s, n in ((5, 2), (4, 3))]
    networks = [SlicingEnv(scenario, observation="per_slice") for scenario in scenarios]
    settings = PretrainingSettings(
        hiddens=(16, 16), rounds=8, steps_per_round=20, updates_per_round=40, lr=3e-3
    )
    said = []
    weights = pretrain(networks, settings, said.append)
    again = pretrain(networks, settings, said.append)

    assert all(np.array_equal(weights[name], again[name]) for name in weights)
    assert said[0].startswith("round 1 of 8: mean reward")
    for env in networks:
        form = ActorForm(env.action_size, "equivariant", "persistence")
        policy = TrainedPolicy(env.cells, dict.fromkeys(env.cells, weights), form)
        base = BasePolicySplit(env.action_size)
        ours, theirs = (rollout(env, p, 100, 9).reward.mean() for p in (policy, base))
        assert ours > theirs


def test_another_observation_is_refused():
    env = SlicingEnv(draw_scenario(np.random.default_rng(0), "net", (2,)))

    with pytest.raises(ValueError, match="expected per_slice, got paper"):
        pretrain([env], PretrainingSettings(), print)


@pytest.mark.parametrize("setting", ["rounds", "steps_per_round", "batch_size"])
def test_settings_below_one_are_refused(setting):
    with pytest.raises(ValueError, match=rf"(?s){setting}.*greater than or equal to 1"):
        PretrainingSettings(**{setting: 0})
