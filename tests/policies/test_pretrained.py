"""The pretrained actor: read, verified, and better than its base in networks it never saw."""

import json

import numpy as np
import pytest

from slicing_rllib.env import SlicingEnv
from slicing_rllib.evaluation import rollout
from slicing_rllib.policies import PretrainedActor, PretrainedPolicy, load_pretrained
from slicing_rllib.policies.baselines import Persistence, TrafficAware
from slicing_rllib.policies.trained_policy import PretrainedError, save_pretrained
from slicing_rllib.radio import draw_scenario, make_scenario


def mean_reward(scenario, policy, map_seed):
    env = SlicingEnv(scenario, map_seed=map_seed)
    return np.mean([rollout(env, policy, 120, seed).reward.mean() for seed in (51, 52)])


@pytest.mark.parametrize("name", ["paper", "mixed"])
def test_it_serves_a_network_that_it_has_never_seen_better_than_the_heuristic(unchecked, name):
    """On one unseen map each: reward at least .01 above traffic-aware and persistence."""
    scenario = make_scenario(name)
    own = mean_reward(scenario, PretrainedPolicy(scenario), map_seed=1)

    assert own > mean_reward(scenario, TrafficAware(), map_seed=1) + 0.01
    assert own > mean_reward(scenario, Persistence(scenario), map_seed=1) + 0.01


def test_it_serves_five_slices_although_no_training_network_had_five(unchecked):
    scenario = draw_scenario(np.random.default_rng(3), "five", (5,))
    own = mean_reward(scenario, PretrainedPolicy(scenario), map_seed=77)

    assert own >= mean_reward(scenario, Persistence(scenario), map_seed=77) - 0.002
    training = load_pretrained().provenance["training_networks"]
    assert not any("5 slices" in network for network in training)


def test_saving_gives_the_same_bytes_again(tmp_path):
    actor = load_pretrained()
    for folder in ("a", "b"):
        save_pretrained(tmp_path / folder, actor)

    for file in ("actor.safetensors", "manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    loaded = load_pretrained(tmp_path / "a")
    assert all(np.array_equal(loaded.weights[name], w) for name, w in actor.weights.items())
    assert actor.hiddens == (64, 64)


def test_changed_or_non_finite_weights_are_refused(tmp_path):
    actor = load_pretrained()
    save_pretrained(tmp_path / "changed", actor)
    data = bytearray((tmp_path / "changed" / "actor.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "changed" / "actor.safetensors").write_bytes(data)
    with pytest.raises(PretrainedError, match="expected the weights that its manifest describes"):
        load_pretrained(tmp_path / "changed")

    infinite = {name: np.full_like(w, np.inf) for name, w in actor.weights.items()}
    save_pretrained(tmp_path / "infinite", PretrainedActor(infinite, {}))
    with pytest.raises(PretrainedError, match="expected finite weights"):
        load_pretrained(tmp_path / "infinite")

    with pytest.raises(PretrainedError, match="expected a pretrained actor"):
        load_pretrained(tmp_path / "nothing")
    (tmp_path / "changed" / "manifest.json").write_text(json.dumps([1]))
    with pytest.raises(PretrainedError, match="expected a pretrained actor"):
        load_pretrained(tmp_path / "changed")
