"""What a target takes over by each method."""

import numpy as np
import pytest

from slicing_rllib.env import ActorForm, slice_reward
from slicing_rllib.learning.replay import Transitions
from slicing_rllib.learning.stacked_networks import NetworkSizes
from slicing_rllib.policies.td3_settings import TD3Settings
from slicing_rllib.registry import get_part, list_names
from slicing_rllib.transfer.methods import (
    Sla,
    Source,
    Target,
    Transfer,
    compute_source_shares,
    relabel_rewards,
)
from slicing_rllib.transfer.transfer_settings import TransferSettings

SLA = Sla(np.array([2.0, 1.0]), np.array([1.0, 1.0]))
SHAPES = {"0.weight": (5, 3), "0.bias": (5,), "2.weight": (2, 5), "2.bias": (2,)}
SIZES = NetworkSizes((3, 5, 2), (5, 5, 1), ActorForm(2))
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
    """Throughput and delay of `level` in both slices; the source's reward is zero."""
    return Transitions(
        obs=np.zeros((n, 3), np.float32),
        action=np.full((n, 2), 0.5, np.float32),
        reward=np.zeros(n, np.float32),
        next_obs=np.zeros((n, 3), np.float32),
        terminated=np.zeros(n, np.float32),
        counterfactual_inputs=np.zeros((n, 0), np.float32),
        reward_inputs=np.full((n, 4), level, np.float32),
    )


@pytest.fixture
def target():
    return Target("new", weights(0.0), SLA, SIZES, TD3Settings())


@pytest.fixture
def sources():
    return [
        Source("near", weights(1.0), experience(50, 1.0), 1.0),
        Source("far", weights(2.0), experience(50, 2.0), 3.0),
    ]


def start_by(method, target, sources, **settings):
    chosen = TransferSettings(method=method, **settings)
    return get_part("method", method)(Transfer(target, sources, chosen, np.random.default_rng(0)))


@pytest.mark.parametrize("name", list_names("method"))
def test_every_method_is_a_function_that_says_its_name(name):
    assert f"`{name}`:" in get_part("method", name).__doc__


@pytest.mark.equation(2)
def test_relabelling_gives_the_reward_under_the_given_sla():
    """A throughput of 1 where 2 and 1 are required gives a reward of 1/2."""
    new = relabel_rewards(experience(3, 1.0), SLA)

    assert new.reward.tolist() == [0.5, 0.5, 0.5]
    assert new.reward[0] == slice_reward(np.ones(2), np.ones(2), *SLA)


def test_relabelling_twice_with_one_sla_changes_nothing_more():
    once = relabel_rewards(experience(3, 1.0), SLA)

    assert np.array_equal(relabel_rewards(once, SLA).reward, once.reward)


def test_relabelling_without_throughput_and_delay_is_an_error():
    blind = experience(3, 1.0)._replace(reward_inputs=np.empty((3, 0), np.float32))
    with pytest.raises(ValueError, match="expected 4 reward inputs per transition, got 0"):
        relabel_rewards(blind, SLA)


def test_none_starts_from_random_weights(target, sources):
    start = start_by("none", target, sources)

    assert start.weights is target.fresh
    assert start.experience is None
    assert start.explores
    assert not start.is_trained


def test_model_copies_all_weights_and_no_experience(target, sources):
    start = start_by("model", target, sources)

    assert start.weights is sources[0].weights
    assert start.experience is None


def test_feature_copies_the_lower_layers_and_freezes_them(target, sources):
    start = start_by("feature", target, sources)

    assert (start.weights["actor.0.weight"] == 1).all()
    assert (start.weights["actor.2.weight"] == 0).all()
    assert "actor.0." in start.frozen
    assert not any(name.startswith("actor.2") for name in start.frozen)


def test_instance_copies_experience_only(target, sources):
    start = start_by("instance", target, sources, transferred_transitions=20)

    assert start.weights is target.fresh
    assert start.experience is not None
    assert len(start.experience.reward) == 20


def test_integrated_copies_weights_and_experience_and_relabels_rewards(target, sources):
    start = start_by("integrated", target, sources)

    assert start.weights is sources[0].weights
    assert start.experience is not None
    assert start.experience.reward.tolist() == [0.5] * 50


def test_without_relabelling_rewards_are_those_of_the_source(target, sources):
    start = start_by("integrated", target, sources, relabel=False)

    assert start.experience is not None
    assert start.experience.reward.tolist() == [0.0] * 50


def test_nearer_sources_contribute_more_experience(target, sources):
    """Distances 1 and 3 give three quarters and one quarter."""
    start = start_by("multi_source", target, sources, transferred_transitions=40, n_sources=2)

    assert start.experience is not None
    assert (start.experience.reward_inputs[:, 0] == 1.0).sum() == 30
    assert (start.experience.reward_inputs[:, 0] == 2.0).sum() == 10


def test_source_shares_are_proportional_to_the_inverse_distance():
    """A source at distance 0 takes all; negated returns are shifted to start at 0."""
    assert compute_source_shares([1.0, 3.0]).tolist() == [0.75, 0.25]
    assert compute_source_shares([0.0, 3.0]).tolist() == [1.0, 0.0]
    assert compute_source_shares([-0.9, -0.1]).tolist() == [1.0, 0.0]


def test_the_generalist_learns_what_the_experience_rewards(target):
    """The reward is the share of the first slice, so the policy must prefer that slice."""
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
    start = start_by(
        "generalist", target._replace(fresh=scratch), sources, relabel=False, generalist_updates=800
    )
    w = start.weights
    hidden = np.maximum(batch.obs @ w["actor.0.weight"].T + w["actor.0.bias"], 0)
    logits = hidden @ w["actor.2.weight"].T + w["actor.2.bias"]

    assert (logits[:, 0] > logits[:, 1]).mean() > 0.95
