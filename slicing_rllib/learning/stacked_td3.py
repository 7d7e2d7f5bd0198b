"""One TD3 update of many cells at once: every network kind is one batched matrix product."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from slicing_rllib.learning.losses import smoothing_noise, td_target
from slicing_rllib.learning.parameter_bank import KINDS, ParameterBank
from slicing_rllib.learning.stacked_adam import Adam
from slicing_rllib.learning.stacked_mlp import (
    backward,
    forward,
    input_gradient,
    softmax_gradient,
    softmax_shares,
)

CELLS_PER_BLOCK = 48
"""Cells whose networks, moments and activations fit together into the caches of a core."""


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """TD3's hyper-parameters, the same for all cells.

    Source: the paper, sec. V; what it leaves open is from Fujimoto et al. 2018.
    """

    actor_lr: float = 5e-4
    """Adam's learning rate of the actor."""
    critic_lr: float = 1e-3
    """Adam's learning rate of the twin critics."""
    gamma: float = 0.1
    """Discount factor, from 0 up to but not including 1."""
    tau: float = 0.005
    """Share of the online network that a target network takes over at each of its updates."""
    policy_delay: int = 2
    """Updates of the critics per update of the actor and of the target networks."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the target actor's logits."""
    target_noise_clip: float = 0.5
    """Largest absolute value of that noise."""

    def updates_actor(self, update: int) -> bool:
        """Whether the update of that number (from 0) is one that moves actor and targets too."""
        return (update + 1) % self.policy_delay == 0


class Batch(NamedTuple):
    """Transitions, (cell, batch, ...) each, and standard normal noise for target smoothing."""

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor
    noise: Tensor


class Losses(NamedTuple):
    """Losses per cell; the actor's is that of its last update."""

    critic: Tensor
    actor: Tensor


class StackedTD3:
    """Updates all rows of a bank; on a CPU in blocks that fit into a core's caches."""

    def __init__(self, bank: ParameterBank, hyper: Hyperparameters) -> None:
        """`bank` is updated in place."""
        self.actor_adam = Adam(bank.flat["actor"])
        self.critic_adam = Adam(bank.flat["critics"])
        per_block = CELLS_PER_BLOCK if bank.device.type == "cpu" else bank.n_cells
        adams = {"actor": self.actor_adam, "critics": self.critic_adam}
        grads = {kind: torch.zeros_like(bank.flat[kind][:per_block]) for kind in adams}
        starts = range(0, bank.n_cells, per_block)
        blocks = [slice(start, min(start + per_block, bank.n_cells)) for start in starts]
        self.blocks = [(rows, _Block(bank, rows, adams, grads, hyper)) for rows in blocks]
        self.actor_loss = torch.zeros(bank.n_cells, device=bank.device)

    @torch.no_grad()
    def update(self, batch: Batch, *, with_actor: bool) -> Losses:
        """One update of every cell's critics and, if asked for, of its actor and targets."""
        critic_loss = torch.empty_like(self.actor_loss)
        for rows, block in self.blocks:
            own = Batch(*(tensor[rows] for tensor in batch))
            critic_loss[rows] = block.update_critics(own)
            if with_actor:
                self.actor_loss[rows] = block.update_actors(own)
                block.update_targets()
        return Losses(critic_loss, self.actor_loss.clone())


class _Block:
    """Some rows of a bank. Twin critics are twice as many rows of one matrix product."""

    def __init__(
        self,
        bank: ParameterBank,
        rows: slice,
        adams: Mapping[str, Adam],
        grads: Mapping[str, Tensor],
        hyper: Hyperparameters,
    ) -> None:
        """Gradients are written into `grads`, which all blocks share: none outlives an update."""
        self._hyper = hyper
        flat = {kind: bank.flat[kind][rows] for kind in KINDS}
        self._layers = {kind: bank.layers(kind, part) for kind, part in flat.items()}
        self._first_critic = [(weight[::2], bias[::2]) for weight, bias in self._layers["critics"]]
        grad = {kind: whole[: rows.stop - rows.start] for kind, whole in grads.items()}
        self._grads = {kind: bank.layers(kind, part) for kind, part in grad.items()}
        self._adam_step = {kind: adams[kind].bind(rows, flat[kind], grad[kind]) for kind in adams}
        self._target_pairs = [(flat[f"target_{kind}"], flat[kind]) for kind in adams]

    def compute_target(self, batch: Batch) -> Tensor:
        """The value that both critics regress on, (cell, batch)."""
        hyper = self._hyper
        logits, _ = forward(self._layers["target_actor"], batch.next_obs)
        noise = smoothing_noise(batch.noise, hyper.target_noise, hyper.target_noise_clip)
        action = softmax_shares(logits + noise)
        pairs = _repeat_for_twins(torch.cat([batch.next_obs, action], dim=-1))
        q, _ = forward(self._layers["target_critics"], pairs)
        q1, q2 = q.view(-1, 2, q.shape[1]).unbind(1)
        return td_target(batch.reward, batch.terminated, q1, q2, gamma=hyper.gamma)

    def update_critics(self, batch: Batch) -> Tensor:
        """One Adam step of the twin critics; returns the sum of their losses per cell."""
        target = self.compute_target(batch).repeat_interleave(2, dim=0)[..., None]
        pairs = _repeat_for_twins(torch.cat([batch.obs, batch.action], dim=-1))
        q, inputs = forward(self._layers["critics"], pairs)
        error = q - target
        grad = error * (2.0 / error.shape[1])
        backward(self._layers["critics"], inputs, grad, self._grads["critics"])
        self._adam_step["critics"](self._hyper.critic_lr)
        return error.square().mean(dim=(1, 2)).view(-1, 2).sum(dim=1)

    def update_actors(self, batch: Batch) -> Tensor:
        """One Adam step of the actor along the first critic's gradient; returns its loss."""
        logits, actor_inputs = forward(self._layers["actor"], batch.obs)
        action = softmax_shares(logits)
        pairs = torch.cat([batch.obs, action], dim=-1)
        q, critic_inputs = forward(self._first_critic, pairs)
        grad = torch.full_like(q, -1.0 / q.shape[1])
        grad = input_gradient(self._first_critic, critic_inputs, grad)
        grad = softmax_gradient(action, grad[..., batch.obs.shape[-1] :])
        backward(self._layers["actor"], actor_inputs, grad, self._grads["actor"])
        self._adam_step["actor"](self._hyper.actor_lr)
        return -q.mean(dim=(1, 2))

    def update_targets(self) -> None:
        """Move every target network towards its online network by `tau`."""
        for target, online in self._target_pairs:
            target.lerp_(online, self._hyper.tau)


def _repeat_for_twins(pairs: Tensor) -> Tensor:
    """(cell, batch, input) for both critics of each cell: (cell x 2, batch, input)."""
    return pairs.repeat_interleave(2, dim=0)
