"""One TD3 update of many cells at once: every network kind is one batched matrix product.

The value that TD3's critics regress on.

Source: Fujimoto, van Hoof and Meger, "Addressing Function Approximation Error in Actor-Critic
Methods", 2018, Algorithm 1.

Where an actor climbs to: along its critic, along the counterfactual reward, or along both.

Adam on the rows of a parameter bank, each row with its own step count.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slicing_rllib.env import CounterfactualReward
from slicing_rllib.learning.stacked_networks import (
    KINDS,
    ParameterBank,
    add_smoothing,
    backpropagate_logits,
    backpropagate_squash,
    backward,
    compute_logits,
    forward,
    input_gradient,
    squash_logits,
)
from slicing_rllib.learning.td3_settings import TD3Settings


def smoothing_noise(standard: Tensor, sigma: float, clip: float) -> Tensor:
    """Clipped Gaussian noise for the target policy, here on its logits.

    `standard` is standard normal; `sigma` its standard deviation and `clip` its bound afterwards.
    """
    return (sigma * standard).clamp(-clip, clip)


def td_target(
    reward: Tensor, terminated: Tensor, q1_next: Tensor, q2_next: Tensor, *, gamma: float
) -> Tensor:
    """Clipped double-Q target; truncation bootstraps, termination (1) does not."""
    return reward + gamma * (1.0 - terminated) * torch.minimum(q1_next, q2_next)


class ActionGradient(NamedTuple):
    """The objective per cell, and its derivative with respect to the actions."""

    objective: Tensor
    """Mean over the batch, (cell,)."""
    gradient: Tensor
    """(cell, batch, action), of the mean over the batch."""


Gradient = Callable[[Tensor, Tensor, Tensor], ActionGradient]
"""Called with obs, action and counterfactual inputs, (cell, batch, ...) each."""


def counterfactual_gradient(reward: CounterfactualReward) -> Gradient:
    """The gradient of the reward that an action would have earned in the measured step."""

    def compute(obs: Tensor, action: Tensor, counterfactual_inputs: Tensor) -> ActionGradient:
        measured, applied = (
            counterfactual_inputs.cpu().numpy(),
            np.ascontiguousarray(action.cpu().numpy()),
        )
        rewards, slopes = reward.reward_and_gradient(measured, applied)
        objective = torch.from_numpy(rewards.mean(axis=-1)).to(action.device)
        gradient = torch.from_numpy(slopes).to(action.device)
        return ActionGradient(objective, gradient / action.shape[1])

    return compute


def blend_gradients(first: Gradient, second: Gradient, second_weight: float) -> Gradient:
    """(1 - w) times one gradient plus w times the other; `second_weight` is w, from 0 to 1."""

    def compute(obs: Tensor, action: Tensor, counterfactual_inputs: Tensor) -> ActionGradient:
        ours, theirs = (
            first(obs, action, counterfactual_inputs),
            second(obs, action, counterfactual_inputs),
        )
        return ActionGradient(
            torch.lerp(ours.objective, theirs.objective, second_weight),
            torch.lerp(ours.gradient, theirs.gradient, second_weight),
        )

    return compute


# Private to torch: tests/learning/test_private_apis.py pins its signature.
fused_adam = torch.ops.aten._fused_adam_.default


class Adam:
    """torch's fused Adam on (row, network, parameter) tensors. Source: Kingma & Ba 2015."""

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, parameters: Tensor) -> None:
        """Moments start at zero, shaped like `parameters`."""
        self.mean = torch.zeros_like(parameters)
        self.square = torch.zeros_like(parameters)
        # float32 counts exactly up to 16 million.
        self.steps = torch.zeros((len(parameters), 1, 1), device=parameters.device)

    def bind(self, rows: slice, parameters: Tensor, grad: Tensor) -> Callable[[float], None]:
        """A function that makes one step of these rows at a learning rate.

        `parameters` and `grad` are the rows' own tensors; the step reads the gradients that are in
        `grad` when it is called.
        """
        steps = self.steps[rows]
        parts = (parameters, grad, self.mean[rows], self.square[rows], steps.flatten())
        *tensors, counts = [list(part.unbind()) for part in parts]
        (first, second), epsilon = self.BETAS, self.EPSILON
        options = {"weight_decay": 0.0, "amsgrad": False, "maximize": False}

        def step(lr: float) -> None:
            steps.add_(1)
            fused_adam(
                *tensors, [], counts, lr=lr, beta1=first, beta2=second, eps=epsilon, **options
            )

        return step

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """First moments, second moments and step counts, a row each."""
        return self.mean, self.square, self.steps

    def reset(self, row: int) -> None:
        """Set a row's moments and step count to zero."""
        for tensor in self.tensors:
            tensor[row] = 0


CELLS_PER_BLOCK = 48
"""Cells whose networks, moments and activations fit together into the caches of a core."""


class Batch(NamedTuple):
    """Transitions, (cell, batch, ...) each, and standard normal noise for target smoothing."""

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor
    counterfactual_inputs: Tensor
    """What the environment measured in the step; empty where it measures nothing."""
    noise: Tensor


class Losses(NamedTuple):
    """Losses per cell, each of the last update that moved the network."""

    critic: Tensor
    actor: Tensor


class StackedTD3:
    """Updates all rows of a bank; on a CPU in blocks that fit into a core's caches."""

    def __init__(
        self,
        bank: ParameterBank,
        hyper: TD3Settings,
        counterfactual: CounterfactualReward | None = None,
    ) -> None:
        """`bank` is updated in place; `counterfactual` is needed unless the actor climbs a critic.

        Raises: ValueError where it is needed and missing.
        """
        if counterfactual is None and hyper.actor_objective != "critic":
            raise ValueError(
                f"actor_objective {hyper.actor_objective}: expected an environment that offers a "
                "counterfactual reward; actor_objective critic works with any"
            )
        self.hyper = hyper
        self.actor_adam = Adam(bank.flat["actor"])
        self.critic_adam = Adam(bank.flat["critics"])
        per_block = CELLS_PER_BLOCK if bank.device.type == "cpu" else bank.n_cells
        adams = {"actor": self.actor_adam, "critics": self.critic_adam}
        grads = {kind: torch.zeros_like(bank.flat[kind][:per_block]) for kind in adams}
        starts = range(0, bank.n_cells, per_block)
        blocks = [slice(start, min(start + per_block, bank.n_cells)) for start in starts]
        self.blocks = [
            (rows, _Block(bank, rows, adams, grads, hyper, counterfactual)) for rows in blocks
        ]
        self.critic_loss = torch.zeros(bank.n_cells, device=bank.device)
        self.actor_loss = torch.zeros(bank.n_cells, device=bank.device)

    @torch.no_grad()
    def update(self, batch: Batch, number: int) -> Losses:
        """The update of that number, from 0, of every cell.

        TD3 moves the actor with every `policy_delay`-th update of the critics, on which it depends.
        The counterfactual reward does not depend on the critics: there the actor moves with every
        update, and the critics with every `critic_delay`-th. Target networks move when both do.
        """
        objective, hyper = self.hyper.actor_objective, self.hyper
        moves_actor = objective != "critic" or (number + 1) % hyper.policy_delay == 0
        moves_critics = objective != "counterfactual" or (number + 1) % hyper.critic_delay == 0
        for rows, block in self.blocks:
            own = Batch(*(tensor[rows] for tensor in batch))
            if moves_critics:
                self.critic_loss[rows] = block.update_critics(own)
            if moves_actor:
                self.actor_loss[rows] = block.update_actors(own)
            if moves_critics and moves_actor:
                block.update_targets()
        return Losses(self.critic_loss.clone(), self.actor_loss.clone())


class _Block:
    """Some rows of a bank. Twin critics are twice as many rows of one matrix product."""

    def __init__(
        self,
        bank: ParameterBank,
        rows: slice,
        adams: Mapping[str, Adam],
        grads: Mapping[str, Tensor],
        hyper: TD3Settings,
        counterfactual: CounterfactualReward | None,
    ) -> None:
        """Gradients are written into `grads`, which all blocks share: none outlives an update."""
        self._hyper, self._form, self._counterfactual = hyper, bank.sizes.form, counterfactual
        flat = {kind: bank.flat[kind][rows] for kind in KINDS}
        self._layers = {kind: bank.layers(kind, part) for kind, part in flat.items()}
        self._first_critic = [(weight[::2], bias[::2]) for weight, bias in self._layers["critics"]]
        grad = {kind: whole[: rows.stop - rows.start] for kind, whole in grads.items()}
        self._grads = {kind: bank.layers(kind, part) for kind, part in grad.items()}
        self._adam_step = {kind: adams[kind].bind(rows, flat[kind], grad[kind]) for kind in adams}
        self._target_pairs = [(flat[f"target_{kind}"], flat[kind]) for kind in adams]

        self._action_gradient = self._choose_gradient()

    def compute_target(self, batch: Batch) -> Tensor:
        """The value that both critics regress on, (cell, batch)."""
        hyper = self._hyper
        logits, _ = compute_logits(self._form, self._layers["target_actor"], batch.next_obs)
        noise = smoothing_noise(batch.noise, hyper.target_noise, hyper.target_noise_clip)
        action = add_smoothing(self._form.squash, logits, noise)
        pairs = _repeat_for_twins(torch.cat([batch.next_obs, action], dim=-1))
        q, _ = forward(self._layers["target_critics"], pairs)
        q1, q2 = q.view(-1, 2, q.shape[1]).unbind(1)
        return td_target(batch.reward, batch.terminated, q1, q2, gamma=hyper.gamma)

    def update_critics(self, batch: Batch) -> Tensor:
        """One Adam step of the twin critics; returns the sum of their losses per cell."""
        if self._hyper.actor_objective != "critic" and self._counterfactual is not None:
            batch = add_counterfactual_splits(batch, self._counterfactual)
        target = self.compute_target(batch).repeat_interleave(2, dim=0)[..., None]
        pairs = _repeat_for_twins(torch.cat([batch.obs, batch.action], dim=-1))
        q, inputs = forward(self._layers["critics"], pairs)
        error = q - target
        grad = error * (2.0 / error.shape[1])
        backward(self._layers["critics"], inputs, grad, self._grads["critics"])
        self._adam_step["critics"](self._hyper.critic_lr)
        return error.square().mean(dim=(1, 2)).view(-1, 2).sum(dim=1)

    def update_actors(self, batch: Batch) -> Tensor:
        """One Adam step of the actor up its objective; returns the objective's negative."""
        logits, inputs = compute_logits(self._form, self._layers["actor"], batch.obs)
        action = squash_logits(self._form.squash, logits)
        objective, gradient = self._action_gradient(batch.obs, action, batch.counterfactual_inputs)
        grad = backpropagate_squash(self._form.squash, action, -gradient)
        backpropagate_logits(self._form, self._layers["actor"], inputs, grad, self._grads["actor"])
        self._adam_step["actor"](self._hyper.actor_lr)
        return -objective

    def update_targets(self) -> None:
        """Move every target network towards its online network by `tau`."""
        for target, online in self._target_pairs:
            target.lerp_(online, self._hyper.tau)

    def _choose_gradient(self) -> Gradient:
        if self._counterfactual is None or self._hyper.actor_objective == "critic":
            return self._climb_critic
        climb = counterfactual_gradient(self._counterfactual)
        if self._hyper.actor_objective == "counterfactual":
            return climb
        return blend_gradients(climb, self._climb_critic, self._hyper.blend_critic_weight)

    def _climb_critic(
        self, obs: Tensor, action: Tensor, counterfactual_inputs: Tensor
    ) -> ActionGradient:
        """The first critic's value and its gradient."""
        q, inputs = forward(self._first_critic, torch.cat([obs, action], dim=-1))
        grad = torch.full_like(q, 1.0 / q.shape[1])
        grad = input_gradient(self._first_critic, inputs, grad)
        return ActionGradient(q.mean(dim=(1, 2)), grad[..., obs.shape[-1] :])


def add_counterfactual_splits(batch: Batch, counterfactual: CounterfactualReward) -> Batch:
    """The second half of each cell's batch with other actions, and the rewards of those actions.

    The other action is the one that was applied in the batch's previous transition. Without it, a
    policy that explores nothing would show its critics only its own actions.
    """
    half = batch.action.shape[1] // 2
    other = batch.action.roll(1, dims=1)[:, half:].contiguous()
    reward = counterfactual.reward(
        batch.counterfactual_inputs[:, half:].cpu().numpy(), other.cpu().numpy()
    )
    return batch._replace(
        action=torch.cat([batch.action[:, :half], other], dim=1),
        reward=torch.cat(
            [batch.reward[:, :half], torch.from_numpy(reward).to(batch.reward)], dim=1
        ),
    )


def _repeat_for_twins(pairs: Tensor) -> Tensor:
    """(cell, batch, input) for both critics of each cell: (cell x 2, batch, input)."""
    return pairs.repeat_interleave(2, dim=0)
