"""The actors of all cells as one policy, layers from saved weights, and the pretrained actor."""

import itertools
import json

import numpy as np
import pytest
import torch

from slicing_rllib.env import ActorForm, SlicingEnv
from slicing_rllib.evaluation import rollout
from slicing_rllib.learning import stacked_networks as stacked_actor
from slicing_rllib.policies import (
    PretrainedActor,
    PretrainedPolicy,
    TrainedPolicy,
    list_layers,
    load_pretrained,
)
from slicing_rllib.policies.baselines import Baseline
from slicing_rllib.policies.trained_policy import PretrainedError, save_pretrained
from slicing_rllib.radio import draw_scenario, make_scenario


def make_weights(rng: np.random.Generator, hidden: int) -> dict[str, np.ndarray]:
    shapes = {
        "actor.0.weight": (hidden, 6),
        "actor.0.bias": (hidden,),
        "actor.2.weight": (3, hidden),
        "actor.2.bias": (3,),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_shares_by_hand():
    """Hidden units relu(1) = 1 and relu(-1) = 0; logits ln 1 and ln 3 give .25 and .75."""
    weights = {
        "actor.0.weight": np.array([[1.0], [-1.0]], np.float32),
        "actor.0.bias": np.zeros(2, np.float32),
        "actor.2.weight": np.array([[0.0, 5.0], [np.log(3.0), 5.0]], np.float32),
        "actor.2.bias": np.zeros(2, np.float32),
    }
    shares = TrainedPolicy(["cell_1"], {"cell_1": weights}).compute_actions(
        np.ones((1, 1), np.float32)
    )

    assert shares == pytest.approx(np.array([[0.25, 0.75]]))


def test_each_cell_uses_its_own_actor_whatever_the_shapes_of_others():
    """Cells 1 and 3 have equal shapes and are stacked; cell 2 is wider."""
    rng = np.random.default_rng(0)
    weights = {f"cell_{k}": make_weights(rng, hidden) for k, hidden in ((1, 4), (2, 8), (3, 4))}
    obs = rng.normal(size=(3, 6)).astype(np.float32)
    together = TrainedPolicy(list(weights), weights).compute_actions(obs)

    for row, cell in enumerate(weights):
        alone = TrainedPolicy([cell], weights).compute_actions(obs[row : row + 1])
        assert together[row] == pytest.approx(alone[0])
    assert together.dtype == np.float32
    assert together.sum(axis=1) == pytest.approx(1.0)


def test_a_cell_without_weights_raises_an_error():
    weights = {"cell_1": make_weights(np.random.default_rng(0), 4)}
    with pytest.raises(ValueError, match="one for each cell, none for cell_2"):
        TrainedPolicy(["cell_1", "cell_2"], weights)


@pytest.mark.parametrize("kind", ["mlp", "equivariant"])
@pytest.mark.parametrize("base_policy", ["none", "persistence"])
def test_numpy_and_torch_compute_the_same_actor(kind, base_policy):
    """Training's forward pass and this one agree to float32 precision, in every form."""
    form, rng = ActorForm(3, kind, base_policy), np.random.default_rng(0)
    widths = form.compute_widths(12, (8, 6))
    layers = [
        (rng.normal(size=(4, b, a)).astype(np.float32), rng.normal(size=(4, b)).astype(np.float32))
        for a, b in itertools.pairwise(widths)
    ]
    weights = {
        f"cell_{cell + 1}": {
            f"actor.{2 * number}.{part}": array[cell]
            for number, layer in enumerate(layers)
            for part, array in zip(("weight", "bias"), layer, strict=True)
        }
        for cell in range(4)
    }
    obs = rng.normal(size=(4, 12)).astype(np.float32)
    stacked = [tuple(map(torch.from_numpy, layer)) for layer in layers]
    logits, _ = stacked_actor.compute_logits(form, stacked, torch.from_numpy(obs)[:, None])

    expected = torch.softmax(logits[:, 0], -1).numpy()
    assert TrainedPolicy(list(weights), weights, form).compute_actions(obs) == pytest.approx(
        expected, abs=1e-6
    )


WEIGHTS = {
    "actor.10.weight": np.ones((4, 8)),
    "actor.10.bias": np.ones(4),
    "actor.2.weight": np.zeros((8, 16)),
    "actor.2.bias": np.zeros(8),
    "critic_1.0.weight": np.zeros((1, 20)),
    "critic_1.0.bias": np.zeros(1),
}


def test_layers_come_in_the_order_of_their_numbers():
    """2 comes before 10, although "10" comes before "2" as a string."""
    layers = list_layers(WEIGHTS)

    assert [layer.weight.shape for layer in layers] == [(8, 16), (4, 8)]
    assert layers[1].bias is WEIGHTS["actor.10.bias"]


def test_another_network_of_the_same_weights():
    assert [layer.weight.shape for layer in list_layers(WEIGHTS, "critic_1")] == [(1, 20)]


def test_weights_without_the_network_raise_an_error():
    with pytest.raises(ValueError, match="expected a network 'target_actor'"):
        list_layers(WEIGHTS, "target_actor")


def mean_reward(scenario, policy, map_seed):
    env = SlicingEnv(scenario, map_seed=map_seed)
    return np.mean([rollout(env, policy, 120, seed).reward.mean() for seed in (51, 52)])


@pytest.mark.parametrize("name", ["paper", "mixed"])
def test_it_serves_a_network_that_it_has_never_seen_better_than_the_heuristic(unchecked, name):
    """On one unseen map each: reward at least .01 above traffic-aware and persistence."""
    scenario = make_scenario(name)
    own = mean_reward(scenario, PretrainedPolicy(scenario), map_seed=1)

    assert own > mean_reward(scenario, Baseline("traffic_aware", scenario), map_seed=1) + 0.01
    assert own > mean_reward(scenario, Baseline("persistence", scenario), map_seed=1) + 0.01


def test_it_serves_five_slices_although_no_training_network_had_five(unchecked):
    scenario = draw_scenario(np.random.default_rng(3), "five", (5,))
    own = mean_reward(scenario, PretrainedPolicy(scenario), map_seed=77)

    assert own >= mean_reward(scenario, Baseline("persistence", scenario), map_seed=77) - 0.002
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
