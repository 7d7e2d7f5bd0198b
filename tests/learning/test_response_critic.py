"""Critics per slice: their gradients, what they learn, and their life in RLlib."""

import itertools

import numpy as np
import pytest
import torch

from slicing_rllib.env import ActorForm, SlicingEnv
from slicing_rllib.env.response_curves import FEATURES, extrapolate_levels, split_by_curves
from slicing_rllib.learning import TD3Config
from slicing_rllib.learning.response_critic import (
    LEAST_SLOPE,
    SLOPE_PENALTY,
    SLOPE_STEP,
    build_stacked,
    join_share,
    predict_worst,
)
from slicing_rllib.learning.rl_module import build_mlp
from slicing_rllib.learning.stacked_networks import NetworkSizes, ParameterBank, forward
from slicing_rllib.learning.stacked_td3 import Batch
from slicing_rllib.policies.td3_settings import TD3Settings
from slicing_rllib.radio import make_scenario

CELLS, ROWS, SLICES, N_FEATURES = 3, 6, 2, len(FEATURES)
SIZES = NetworkSizes((), (N_FEATURES + 1, 8, 1), ActorForm(SLICES, "max_min"), ("critics",))
SETTINGS = TD3Settings(critic="per_slice", critic_lr=1e-2)


def make_bank():
    bank, generator = ParameterBank(CELLS, SIZES), torch.Generator().manual_seed(0)
    for row in range(CELLS):
        twins = {name: build_mlp(SIZES.critic, generator) for name in ("critic_1", "critic_2")}
        for name, view in bank.iterate_row(row):
            network, parameter = name.split(".", 1)
            view.copy_(twins[network].get_parameter(parameter).data)
    return bank


def make_batch(rng, levels=None):
    def draw(*shape):
        return torch.from_numpy(rng.random((CELLS, ROWS, *shape), np.float32))

    obs, share = draw(N_FEATURES * SLICES), draw(1) * 0.8 + 0.1
    # By one of their features, critics can tell the slices apart.
    obs[..., 4:6] = torch.tensor([0.0, 1.0])
    action = torch.cat([share, 1.0 - share], dim=-1)
    measured = draw(SLICES) - 0.8 if levels is None else levels(action)
    return Batch(obs, action, draw(), obs, 0 * draw(), measured, 0 * draw(SLICES))


def compute_loss(bank, batch):
    """The loss as its definition says, for autograd."""
    pairs = join_share(batch.obs, batch.action)
    total = 0.0
    for twin in (0, 1):
        layers = [(w[twin::2], b[twin::2]) for w, b in bank.layers("critics", bank.flat["critics"])]

        def predict(x, layers=layers):
            flat = x.flatten(1, 2)
            return forward(layers, flat)[0][..., 0] + extrapolate_levels(flat, flat[..., -1])

        above = pairs[:, ::2] + torch.eye(N_FEATURES + 1)[-1] * SLOPE_STEP
        slope = (predict(above) - predict(pairs[:, ::2])) / SLOPE_STEP
        error = torch.nn.functional.smooth_l1_loss(
            predict(pairs), batch.measured.flatten(1, 2), reduction="none"
        )
        total = total + error.mean(dim=1) + SLOPE_PENALTY * (LEAST_SLOPE - slope).relu().mean(dim=1)
    return total


def test_the_written_gradient_is_that_of_autograd():
    bank, batch = make_bank(), make_batch(np.random.default_rng(0))
    stacked = build_stacked(bank, SETTINGS)
    flat = bank.flat["critics"].clone()
    bank.flat["critics"] = flat.requires_grad_()
    expected = compute_loss(bank, batch)
    gradient = torch.autograd.grad(expected.sum(), flat)[0]
    bank.flat["critics"] = flat.detach()

    losses = stacked.update(batch, 0)

    # Adam's first moment after one step is a tenth of the gradient.
    assert torch.allclose(stacked.adams["critics"].tensors["mean"], 0.1 * gradient, atol=1e-7)
    assert torch.allclose(losses.critic, expected.detach(), atol=1e-6)


def test_critics_learn_how_levels_depend_on_shares():
    """The second slice needs twice the share of the first, so it gets two thirds."""
    rng, bank = np.random.default_rng(1), make_bank()
    stacked = build_stacked(bank, SETTINGS)
    scale = torch.tensor([0.5, 1.0])
    for number in range(400):
        batch = make_batch(rng, lambda action: (action / scale).log().clamp(-2.0, 0.4))
        stacked.update(batch, number)

    layers = [
        (w.unflatten(0, (-1, 2)).numpy(), b.unflatten(0, (-1, 2)).numpy())
        for w, b in bank.layers("critics")
    ]
    split = split_by_curves(layers, batch.obs[:, 0].numpy(), SLICES)
    assert split[:, 1] == pytest.approx(2 / 3, abs=0.06)


def test_an_actor_climbs_the_slope_of_the_worst_slice():
    bank, batch = make_bank(), make_batch(np.random.default_rng(2))
    action = batch.action.clone().requires_grad_()
    layers = bank.layers("critics")
    pairs = join_share(batch.obs, action)
    q, _ = forward(layers, pairs.flatten(1, 2).repeat_interleave(2, dim=0))
    level = q.view(-1, 2, ROWS, SLICES).mean(dim=1) + extrapolate_levels(pairs, pairs[..., -1])
    expected = torch.autograd.grad(level.min(dim=-1)[0].clamp(max=0.05).sum(), action)[0]

    worst, slope = predict_worst(layers, batch.obs, batch.action)

    assert torch.allclose(worst, level.detach().min(dim=-1)[0])
    assert torch.allclose(slope / (batch.action + 0.01), expected, atol=1e-5)


def make_config(**settings):
    chosen = {"critic": "per_slice", "steps_per_iteration": 20, "batch_size": 8} | settings
    env = {"scenario": make_scenario("paper"), "observation": "response"}
    return TD3Config().environment(SlicingEnv, env_config=env).training(**chosen).debugging(seed=1)


def test_it_trains_and_a_resumed_run_continues_bit_for_bit(tmp_path):
    algorithm = make_config().build_algo()
    algorithm.train()
    path = algorithm.save_to_path(str(tmp_path / "checkpoint"))
    resumed = make_config().build_algo()
    resumed.restore_from_path(path)
    results = [each.train() for each in (algorithm, resumed)]

    assert np.isfinite(results[0]["learners"]["cell_1"]["critic_loss"])
    assert set(algorithm.policy_weights("cell_1")) == {
        f"critic_{twin}.{layer}.{part}"
        for twin, layer, part in itertools.product((1, 2), (0, 2, 4), ("weight", "bias"))
    }
    for cell in algorithm.cells:
        own, other = (each.policy_weights(cell) for each in (algorithm, resumed))
        assert all(np.array_equal(own[name], other[name]) for name in own)
    assert np.array_equal(
        algorithm.last_iteration["reward_mean"], resumed.last_iteration["reward_mean"]
    )
    for each in (algorithm, resumed):
        each.stop()


@pytest.mark.parametrize("actor", ["mlp", "equivariant"])
def test_actors_that_are_networks_climb_the_critics(actor):
    algorithm = make_config(actor=actor).build_algo()
    before = {cell: algorithm.policy_weights(cell) for cell in algorithm.cells}
    algorithm.train()
    after = {cell: algorithm.policy_weights(cell) for cell in algorithm.cells}

    # Where every slice has enough, there is nothing to climb.
    name = "actor.0.weight"
    assert any(not np.array_equal(before[cell][name], after[cell][name]) for cell in before)
    assert not any(name.startswith("target_") for name in after["cell_1"])
    algorithm.stop()


def test_what_cannot_work_is_refused_by_name():
    with pytest.raises(ValueError, match="critic='joint': expected actor mlp or equivariant"):
        make_config(critic="joint", actor="max_min").build_algo()
    with pytest.raises(ValueError, match="per_slice expects base_policy none, got persistence"):
        make_config(base_policy="persistence").build_algo()
    with pytest.raises(ValueError, match="critic per_slice: SlicingEnv does not report"):
        make_config().environment(env_config={"observation": "paper"}).build_algo()
