"""The counterfactual gradient in the stacked update: against autograd, and in a whole training."""

import numpy as np
import pytest
import torch

from slicing_rllib.env import ActorForm, SlicingEnv, SplitReward
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.learning.stacked_networks import NetworkSizes, ParameterBank
from slicing_rllib.learning.stacked_td3 import (
    ActionGradient,
    Batch,
    StackedTD3,
    add_counterfactual_splits,
    blend_gradients,
    counterfactual_gradient,
)
from slicing_rllib.policies.td3_settings import TD3Settings
from slicing_rllib.radio import make_scenario

REWARD = SplitReward()


def draw_batch(generator, cells=2, size=8):
    def draw(*shape):
        return torch.rand((cells, size, *shape), generator=generator)

    split = torch.softmax(draw(3), -1)
    # Offered shares from .05 to .15, needed shares from .2 to .5.
    counterfactual_inputs = torch.cat([0.05 + 0.1 * draw(3), 0.2 + 0.3 * draw(3)], dim=-1)
    return Batch(draw(5), split, draw(), draw(5), 0 * draw(), counterfactual_inputs, 0 * draw(3))


def test_the_objective_is_the_mean_counterfactual_reward():
    """One cell, two transitions: rewards .8 and 1, so .9; gradient 2 / 2 on the first slice."""
    counterfactual_inputs = torch.tensor([[[0.2, 0.1, 0.5, 0.2], [0.1, 0.1, 0.2, 0.2]]])
    action = torch.tensor([[[0.6, 0.4], [0.5, 0.5]]])
    objective, gradient = counterfactual_gradient(REWARD, action, counterfactual_inputs)

    assert objective.tolist() == pytest.approx([0.9])
    assert gradient[0].tolist() == [pytest.approx([1.0, 0.0]), [0.0, 0.0]]


def test_a_blend_lies_between():
    """A quarter of the way from 1 to 3."""
    first, second = (ActionGradient(torch.zeros(1), torch.full((1, 1, 2), s)) for s in (1.0, 3.0))
    blended = blend_gradients(first, second, 0.25)

    assert blended.gradient.tolist() == [[[1.5, 1.5]]]


def test_counterfactual_splits_fill_half_of_a_batch():
    batch = draw_batch(torch.Generator().manual_seed(0))
    mixed = add_counterfactual_splits(batch, REWARD)

    assert torch.equal(mixed.action[:, :4], batch.action[:, :4])
    assert torch.equal(mixed.reward[:, :4], batch.reward[:, :4])
    assert torch.equal(mixed.action[:, 4:], batch.action[:, 3:7])
    expected = REWARD.reward(batch.measured[:, 4:].numpy(), batch.action[:, 3:7].numpy())
    assert np.array_equal(mixed.reward[:, 4:].numpy(), expected)


def test_an_actor_without_a_counterfactual_reward_is_refused():
    bank = ParameterBank(1, NetworkSizes((5, 4, 3), (8, 4, 1), ActorForm(3)))

    with pytest.raises(ValueError, match="expected an environment that offers a counterfactual"):
        StackedTD3(bank, TD3Settings(actor_objective="counterfactual"))


def test_climbing_the_counterfactual_reward_raises_it():
    """Mean reward of the actor's splits on a fixed batch grows from update to update."""
    generator = torch.Generator().manual_seed(1)
    bank = ParameterBank(2, NetworkSizes((5, 16, 3), (8, 8, 1), ActorForm(3)))
    for parameters in bank.flat.values():
        parameters.uniform_(-0.3, 0.3, generator=generator)
    hyper = TD3Settings(actor_objective="counterfactual", actor_lr=3e-3)
    stacked, batch = StackedTD3(bank, hyper, REWARD), draw_batch(generator)
    losses = [stacked.update(batch, 0).actor for _ in range(200)]

    assert (losses[-1] < losses[0] - 0.02).all()


@pytest.mark.parametrize("gradient", ["counterfactual", "blend"])
def test_it_trains_resumes_and_repeats_itself(ray_session, tmp_path, gradient):
    """No random step is needed, critics learn as well, and resuming equals never having stopped."""
    env = {"scenario": make_scenario("paper"), "observation": "per_slice", "default_seed": 3}
    config = (
        TD3Config()
        .environment(SlicingEnv, env_config=env)
        .training(
            actor_objective=gradient, base_policy="persistence", actor="equivariant",
            exploration_steps=0, exploration_noise=0.0, steps_per_iteration=50,
        )
        .debugging(seed=3)
    )  # fmt: skip
    algorithm = config.build_algo()
    rewards = [_train(algorithm) for _ in range(2)]
    algorithm.save_to_path(tmp_path)
    resumed = TD3.from_checkpoint(tmp_path)
    for one in (algorithm, resumed):
        rewards = [_train(one) for _ in range(2)]

    assert all(
        np.array_equal(algorithm.policy_weights(cell)[name], weights)
        for cell in algorithm.cells
        for name, weights in resumed.policy_weights(cell).items()
    )
    assert rewards[-1] > 0.5
    critic = algorithm.last_iteration["cells"]["cell_1"]["critic_loss"]
    assert np.isfinite(critic)
    assert critic > 0


def _train(algorithm):
    algorithm.train()
    return algorithm.last_iteration["reward_mean"]
