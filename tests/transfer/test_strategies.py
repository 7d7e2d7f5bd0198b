"""What a target takes over: every strategy through one interface."""

import numpy as np
import pytest

from slicing_rllib.env import slice_reward
from slicing_rllib.learning.replay import Transitions
from slicing_rllib.learning.stacked_td3 import Hyperparameters
from slicing_rllib.transfer.settings import METHODS, TransferSettings
from slicing_rllib.transfer.strategies import (
    STRATEGIES,
    Sla,
    Source,
    Target,
    closeness,
    relabelled,
)

SLA = Sla(np.array([2.0, 1.0]), np.array([1.0, 1.0]))
SHAPES = {"0.weight": (5, 3), "0.bias": (5,), "2.weight": (2, 5), "2.bias": (2,)}
CRITIC = {"0.weight": (5, 5), "0.bias": (5,), "2.weight": (1, 5), "2.bias": (1,)}


def weights(fill):
    networks = {"actor": SHAPES, "critic_1": CRITIC, "critic_2": CRITIC}
    networks |= {f"target_{name}": shapes for name, shapes in networks.items()}
    return {
        f"{network}.{name}": np.full(shape, fill, np.float32)
        for network, shapes in networks.items()
        for name, shape in shapes.items()
    }


def experience(n, level):
    """Throughput and delay of `level` in both slices, rewarded with zero by somebody else."""
    return Transitions(
        obs=np.zeros((n, 3), np.float32),
        action=np.full((n, 2), 0.5, np.float32),
        reward=np.zeros(n, np.float32),
        next_obs=np.zeros((n, 3), np.float32),
        terminated=np.zeros(n, np.float32),
        feedback=np.zeros((n, 0), np.float32),
        outcome=np.full((n, 4), level, np.float32),
    )


@pytest.fixture
def target():
    return Target("new", weights(0.0), SLA, Hyperparameters())


@pytest.fixture
def sources():
    return [
        Source("near", weights(1.0), experience(50, 1.0), 1.0),
        Source("far", weights(2.0), experience(50, 2.0), 3.0),
    ]


def started(method, target, learned_from, **settings):
    chosen = TransferSettings(method=method, **settings)
    return STRATEGIES[method](target, learned_from, chosen, np.random.default_rng(0))


def test_every_method_has_a_strategy():
    assert set(STRATEGIES) == set(METHODS)


@pytest.mark.equation(2)
def test_relabelling_is_the_reward_under_ones_own_promise():
    """Throughput 1 where 2 and 1 are promised: 1/2."""
    new = relabelled(experience(3, 1.0), SLA)

    assert new.reward.tolist() == [0.5, 0.5, 0.5]
    assert new.reward[0] == slice_reward(np.ones(2), np.ones(2), *SLA)


def test_relabelling_with_ones_own_sla_changes_nothing():
    once = relabelled(experience(3, 1.0), SLA)

    assert np.array_equal(relabelled(once, SLA).reward, once.reward)


def test_relabelling_needs_to_know_what_rewards_were_made_of():
    blind = experience(3, 1.0)._replace(outcome=np.empty((3, 0), np.float32))
    with pytest.raises(ValueError, match="expected 4 outcomes per transition, got 0"):
        relabelled(blind, SLA)


def test_none_begins_afresh(target, sources):
    start = started("none", target, sources)

    assert start.weights is target.fresh
    assert start.experience is None
    assert start.explores
    assert not start.trained


def test_model_takes_all_weights_and_no_experience(target, sources):
    start = started("model", target, sources)

    assert start.weights is sources[0].weights
    assert start.experience is None


def test_feature_takes_the_lower_layers_and_freezes_them(target, sources):
    start = started("feature", target, sources)

    assert (start.weights["actor.0.weight"] == 1).all()
    assert (start.weights["actor.2.weight"] == 0).all()
    assert "actor.0." in start.frozen
    assert not any(name.startswith("actor.2") for name in start.frozen)


def test_instance_takes_experience_alone(target, sources):
    start = started("instance", target, sources, transferred_transitions=20)

    assert start.weights is target.fresh
    assert start.experience is not None
    assert len(start.experience.reward) == 20


def test_integrated_takes_both_and_rewards_them_anew(target, sources):
    start = started("integrated", target, sources)

    assert start.weights is sources[0].weights
    assert start.experience is not None
    assert start.experience.reward.tolist() == [0.5] * 50


def test_rewards_may_be_left_as_they_were(target, sources):
    start = started("integrated", target, sources, relabel=False)

    assert start.experience is not None
    assert start.experience.reward.tolist() == [0.0] * 50


def test_several_sources_give_the_more_the_nearer_they_are(target, sources):
    """Distances 1 and 3: three quarters and a quarter."""
    start = started("multi_source", target, sources, transferred_transitions=40, n_sources=2)

    assert start.experience is not None
    assert (start.experience.outcome[:, 0] == 1.0).sum() == 30
    assert (start.experience.outcome[:, 0] == 2.0).sum() == 10


def test_closeness():
    assert closeness([1.0, 3.0]).tolist() == [0.75, 0.25]
    assert closeness([0.0, 3.0]).tolist() == [1.0, 0.0]
    assert closeness([-0.9, -0.1]).tolist() == [1.0, 0.0]


def test_the_generalist_learns_what_all_sources_agree_on(target):
    """Reward is the share of the first slice: everybody's experience says give it all."""
    rng = np.random.default_rng(1)
    share = rng.uniform(0, 1, (200, 1)).astype(np.float32)
    batch = experience(200, 1.0)._replace(
        obs=rng.standard_normal((200, 3)).astype(np.float32),
        action=np.concatenate([share, 1 - share], axis=1),
        reward=share[:, 0],
    )
    scratch = {n: 0.3 * rng.standard_normal(w.shape) for n, w in target.fresh.items()}
    scratch = {n: w.astype(np.float32) for n, w in scratch.items()}
    sources = [Source("one", scratch, batch, 1.0)]
    start = started(
        "generalist", target._replace(fresh=scratch), sources, relabel=False, generalist_updates=800
    )
    w = start.weights
    hidden = np.maximum(batch.obs @ w["actor.0.weight"].T + w["actor.0.bias"], 0)
    logits = hidden @ w["actor.2.weight"].T + w["actor.2.bias"]

    assert (logits[:, 0] > logits[:, 1]).mean() > 0.95
