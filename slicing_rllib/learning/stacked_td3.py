"""One TD3 update of many cells at once: every network kind is one batched matrix product.

Source: Fujimoto, van Hoof and Meger, "Addressing Function Approximation Error in Actor-Critic
Methods", 2018, Algorithm 1. Actors may also climb the counterfactual reward instead of a critic.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from slicing_rllib.env import CounterfactualReward
from slicing_rllib.learning.stacked_networks import (
    ParameterBank,
    backpropagate_logits,
    backpropagate_squash,
    backward,
    compute_logits,
    forward,
    squash_logits,
    take_first_twins,
)
from slicing_rllib.policies.td3_settings import TD3Settings

CELLS_PER_BLOCK = 48
"""Cells whose networks, moments and activations fit together into the caches of a core."""


class Batch(NamedTuple):
    """What one update learns from, (cell, batch, ...) each, and which cells it must not change."""

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    terminated: Tensor
    measured: Tensor
    """What the environment measured in the step: the counterfactual inputs, perhaps none, or with
    critics per slice the level of each slice."""
    noise: Tensor
    """Standard normal noise for target smoothing."""
    paused: Tensor | None = None
    """(cell,): cells whose networks and optimisers stay as they are, bit for bit."""
    paused_actors: Tensor | None = None
    """(cell,): cells whose actor stays as it is while their critics learn."""

    def select(self, rows: Any) -> "Batch":
        """The same for some of the cells: a slice or an array of indices."""
        if isinstance(rows, slice) and rows == slice(None):
            return self
        return self._make(None if tensor is None else tensor[rows] for tensor in self)

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return self._make(None if tensor is None else tensor.to(device) for tensor in self)


class Losses(NamedTuple):
    """Losses per cell, each of the last update that moved the network."""

    critic: Tensor
    actor: Tensor


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
    """What an actor climbs, per cell, and its derivative with respect to the actions."""

    objective: Tensor
    """Mean over the batch, (cell,)."""
    gradient: Tensor
    """(cell, batch, action), of the mean over the batch."""


def counterfactual_gradient(
    reward: CounterfactualReward, action: Tensor, counterfactual_inputs: Tensor
) -> ActionGradient:
    """The gradient of the reward that an action would have earned in the measured step."""
    measured = counterfactual_inputs.cpu().numpy()
    rewards, slopes = reward.reward_and_gradient(
        measured, np.ascontiguousarray(action.cpu().numpy())
    )
    objective = torch.from_numpy(rewards.mean(axis=-1)).to(action.device)
    return ActionGradient(objective, torch.from_numpy(slopes).to(action.device) / action.shape[1])


def blend_gradients(
    first: ActionGradient, second: ActionGradient, second_weight: float
) -> ActionGradient:
    """(1 - w) times one gradient plus w times the other; `second_weight` is w, from 0 to 1."""
    return ActionGradient(
        torch.lerp(first.objective, second.objective, second_weight),
        torch.lerp(first.gradient, second.gradient, second_weight),
    )


def add_counterfactual_splits(batch: Batch, counterfactual: CounterfactualReward) -> Batch:
    """The second half of each cell's batch with other actions, and the rewards of those actions.

    The other action is the one that was applied in the batch's previous transition. Without it, a
    policy that explores nothing would show its critics only its own actions.
    """
    half = batch.action.shape[1] // 2
    other = batch.action.roll(1, dims=1)[:, half:].contiguous()
    inputs = batch.measured[:, half:].cpu().numpy()
    reward = torch.from_numpy(counterfactual.reward(inputs, other.cpu().numpy())).to(batch.reward)
    return batch._replace(
        action=torch.cat([batch.action[:, :half], other], dim=1),
        reward=torch.cat([batch.reward[:, :half], reward], dim=1),
    )


# Private to torch: tests/learning/test_private_apis.py pins its signature.
fused_adam = torch.ops.aten._fused_adam_.default


class Adam:
    """torch's fused Adam on (row, network, parameter) tensors, each row with its own step count.

    Source: Kingma & Ba 2015.
    """

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, parameters: Tensor) -> None:
        """Moments start at zero, shaped like `parameters`."""
        self.tensors = {
            "mean": torch.zeros_like(parameters),
            "square": torch.zeros_like(parameters),
            # float32 counts exactly up to 16 million.
            "steps": torch.zeros((len(parameters), 1, 1), device=parameters.device),
        }
        """First moments, second moments and step counts, a row each."""

    def bind(self, rows: slice, parameters: Tensor, grad: Tensor) -> Callable[[float], None]:
        """A function that makes one step of these rows at a learning rate.

        `parameters` and `grad` are the rows' own tensors; the step reads the gradients that are in
        `grad` when it is called.
        """
        mean, square, steps = (tensor[rows] for tensor in self.tensors.values())
        parts = (parameters, grad, mean, square, steps.flatten())
        *tensors, counts = [list(part.unbind()) for part in parts]
        (first, second), epsilon = self.BETAS, self.EPSILON
        options = {"weight_decay": 0.0, "amsgrad": False, "maximize": False}

        def step(lr: float) -> None:
            steps.add_(1)
            fused_adam(
                *tensors, [], counts, lr=lr, beta1=first, beta2=second, eps=epsilon, **options
            )

        return step


class TD3Block:
    """Some rows of a bank. Twin critics are twice as many rows of one matrix product."""

    def __init__(self, stacked: "StackedTD3", rows: slice, grads: Mapping[str, Tensor]) -> None:
        bank, adams, settings = stacked.bank, stacked.adams, stacked.settings
        self._settings, self._form = settings, bank.sizes.form
        is_needed = settings.actor_objective != "critic"
        self._counterfactual = stacked.counterfactual if is_needed else None
        flat = {kind: own[rows] for kind, own in bank.flat.items()}
        self._layers = {kind: bank.layers(kind, part) for kind, part in flat.items()}
        self._first_critic = take_first_twins(self._layers["critics"])
        grad = {kind: whole[: rows.stop - rows.start] for kind, whole in grads.items()}
        self._grads = {kind: bank.layers(kind, part) for kind, part in grad.items()}
        self._adam_step = {kind: adams[kind].bind(rows, flat[kind], grad[kind]) for kind in adams}
        targets = {kind: f"target_{kind}" for kind in adams}
        self.target_pairs = [(flat[t], flat[kind]) for kind, t in targets.items() if t in flat]

    def update_critics(self, batch: Batch) -> Tensor:
        """One Adam step of the twin critics; returns the sum of their losses per cell."""
        if self._counterfactual is not None:
            batch = add_counterfactual_splits(batch, self._counterfactual)
        target = self.compute_target(batch).repeat_interleave(2, dim=0)[..., None]
        pairs = torch.cat([batch.obs, batch.action], dim=-1).repeat_interleave(2, dim=0)
        q, inputs = forward(self._layers["critics"], pairs)
        error = q - target
        grad = error * (2.0 / error.shape[1])
        backward(self._layers["critics"], inputs, grad, self._grads["critics"])
        self._adam_step["critics"](self._settings.critic_lr)
        return error.square().mean(dim=(1, 2)).view(-1, 2).sum(dim=1)

    def update_actors(self, batch: Batch) -> Tensor:
        """One Adam step of the actor up its objective; returns the objective's negative."""
        logits, inputs = compute_logits(self._form, self._layers["actor"], batch.obs)
        action = squash_logits(self._form.squash, logits)
        objective, gradient = self._compute_gradient(batch, action)
        grad = backpropagate_squash(self._form.squash, action, -gradient)
        backpropagate_logits(self._form, self._layers["actor"], inputs, grad, self._grads["actor"])
        self._adam_step["actor"](self._settings.actor_lr)
        return -objective

    def compute_target(self, batch: Batch) -> Tensor:
        """The value that both critics regress on, (cell, batch)."""
        settings = self._settings
        logits, _ = compute_logits(self._form, self._layers["target_actor"], batch.next_obs)
        noise = smoothing_noise(batch.noise, settings.target_noise, settings.target_noise_clip)
        action = squash_logits(self._form.squash, logits, noise)
        pairs = torch.cat([batch.next_obs, action], dim=-1).repeat_interleave(2, dim=0)
        q, _ = forward(self._layers["target_critics"], pairs)
        q1, q2 = q.view(-1, 2, q.shape[1]).unbind(1)
        return td_target(batch.reward, batch.terminated, q1, q2, gamma=settings.gamma)

    def _compute_gradient(self, batch: Batch, action: Tensor) -> ActionGradient:
        """Where the actor climbs to: along its critic, the counterfactual reward, or both."""
        if self._counterfactual is None:
            return self._climb_critic(batch.obs, action)
        climb = counterfactual_gradient(self._counterfactual, action, batch.measured)
        if self._settings.actor_objective == "counterfactual":
            return climb
        critic = self._climb_critic(batch.obs, action)
        return blend_gradients(climb, critic, self._settings.blend_critic_weight)

    def _climb_critic(self, obs: Tensor, action: Tensor) -> ActionGradient:
        """The first critic's value and its gradient."""
        q, inputs = forward(self._first_critic, torch.cat([obs, action], dim=-1))
        grad = torch.full_like(q, 1.0 / q.shape[1])
        grad = backward(self._first_critic, inputs, grad)
        return ActionGradient(q.mean(dim=(1, 2)), grad[..., obs.shape[-1] :])


class StackedTD3:
    """Updates all rows of a bank; on a CPU in blocks that fit into a core's caches."""

    block = TD3Block
    """The updates of the rows of one block."""

    def __init__(
        self,
        bank: ParameterBank,
        settings: TD3Settings,
        counterfactual: CounterfactualReward | None = None,
    ) -> None:
        """`bank` is updated in place; `counterfactual` is needed unless the actor climbs a critic.

        Raises: ValueError where it is needed and missing.
        """
        if counterfactual is None and settings.actor_objective != "critic":
            raise ValueError(
                f"actor_objective {settings.actor_objective}: expected an environment that offers "
                "a counterfactual reward; actor_objective critic works with any"
            )
        self.bank, self.settings, self.counterfactual = bank, settings, counterfactual
        learning = (kind for kind in ("actor", "critics") if kind in bank.flat)
        self.adams = {kind: Adam(bank.flat[kind]) for kind in learning}
        self.critic_loss, self.actor_loss = torch.zeros((2, bank.n_cells), device=bank.device)
        self.optimiser_tensors = {
            f"{kind}.{part}": tensor
            for kind, adam in self.adams.items()
            for part, tensor in adam.tensors.items()
        } | {"actor_loss": self.actor_loss, "critic_loss": self.critic_loss}
        """The optimisers' tensors and the last losses by name, a row per cell."""
        self._frozen: dict[str, Tensor] = {}
        per_block = CELLS_PER_BLOCK if bank.device.type == "cpu" else bank.n_cells
        # All blocks write their gradients into the same tensors: none outlives an update.
        grads = {kind: torch.zeros_like(bank.flat[kind][:per_block]) for kind in self.adams}
        starts = range(0, bank.n_cells, per_block)
        blocks = [slice(start, min(start + per_block, bank.n_cells)) for start in starts]
        self.blocks = [(rows, self.block(self, rows, grads)) for rows in blocks]

    @torch.no_grad()
    def update(self, batch: Batch, number: int) -> Losses:
        """The update of that number, from 0; what is paused or frozen is put back afterwards.

        TD3 moves the actor with every `policy_delay`-th update of the critics, on which it depends.
        The counterfactual reward does not depend on the critics: there the actor moves with every
        update, and the critics with every `critic_delay`-th. Target networks move when both do.

        The batch may be on another device than the bank.
        """
        objective, settings = self.settings.actor_objective, self.settings
        moves_actor = objective != "critic" or (number + 1) % settings.policy_delay == 0
        moves_actor &= "actor" in self.adams
        moves_critics = objective != "counterfactual" or (number + 1) % settings.critic_delay == 0
        kept = [(t, index, t[index].clone()) for t, index in self._find_unchanged(batch)]
        batch = batch.to(self.bank.device)
        for rows, block in self.blocks:
            own = batch if len(self.blocks) == 1 else batch.select(rows)
            if moves_critics:
                self.critic_loss[rows] = block.update_critics(own)
            if moves_actor:
                self.actor_loss[rows] = block.update_actors(own)
            if moves_critics and moves_actor:
                for target, online in block.target_pairs:
                    target.lerp_(online, settings.tau)
        for tensor, index, values in kept:
            tensor[index] = values
        return Losses(self.critic_loss.clone(), self.actor_loss.clone())

    def freeze(self, frozen: Mapping[int, Sequence[str]]) -> None:
        """From now on, keep a row's parameters whose names begin with one of these prefixes.

        `frozen` maps rows to prefixes such as `actor.0.`; rows that it lacks have none frozen.
        """
        self._frozen = {}
        if not frozen:
            return
        marks = ParameterBank(self.bank.n_cells, self.bank.sizes, device=self.bank.device)
        for row, prefixes in frozen.items():
            for name, view in marks.iterate_row(row):
                view.fill_(float(name.startswith(tuple(prefixes))))
        self._frozen = {kind: marks.flat[kind].bool() for kind in self.adams}

    def state(self, rows: Any = slice(None)) -> dict[str, np.ndarray]:
        """Copies of all that the next update needs, of all cells or of some rows."""
        tensors = (self.bank.flat | self.optimiser_tensors).items()
        return {name: tensor[rows].cpu().numpy().copy() for name, tensor in tensors}

    def restore(self, state: Mapping[str, np.ndarray], rows: Any = slice(None)) -> None:
        """Put a `state` back, into all cells or into some rows."""
        for name, tensor in (self.bank.flat | self.optimiser_tensors).items():
            tensor[rows] = torch.tensor(state[name], device=tensor.device)

    def _find_unchanged(self, batch: Batch) -> Iterator[tuple[Tensor, Any]]:
        """Tensors, and the index in each that the update must leave as it is."""
        flat = self.bank.flat
        for kind, mask in self._frozen.items():
            yield flat[kind], mask
        moments = {kind: adam.tensors.values() for kind, adam in self.adams.items()}
        actors = [flat[kind] for kind in ("actor", "target_actor") if kind in flat]
        actors += moments.get("actor", ())
        everything = [*flat.values(), *(own for of_kind in moments.values() for own in of_kind)]
        for cells, tensors in ((batch.paused, everything), (batch.paused_actors, actors)):
            if cells is not None and cells.any():
                rows = cells.nonzero()[:, 0].tolist()
                yield from ((tensor, rows) for tensor in tensors)
