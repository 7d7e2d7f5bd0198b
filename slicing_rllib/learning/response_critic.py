"""Critics per slice: what service level a share buys, learned from the splits that were applied.

The critic of a cell predicts log min(phi / phi*, d* / d) of one slice from what counters gave for
it and from the logarithm of its share. It is regressed on the levels of applied splits alone: every
step gives as many labels as a cell has slices, and no model of queues is involved. The actor is
`max_min`, the split with the highest common level (`env/response_curves.py`), or a network that
climbs the lowest predicted level.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from slicing_rllib.env import CounterfactualReward
from slicing_rllib.env.response_curves import (
    ENOUGH,
    HIGHEST_LEVEL,
    LOWEST_LEVEL,
    SMALLEST_SHARE,
    extrapolate_levels,
    service_levels,
)
from slicing_rllib.learning.replay import Transitions
from slicing_rllib.learning.stacked_networks import (
    Layers,
    ParameterBank,
    backpropagate_logits,
    backpropagate_squash,
    backward,
    compute_logits,
    forward,
    squash_logits,
)
from slicing_rllib.learning.stacked_td3 import StackedTD3, TD3Block
from slicing_rllib.policies.td3_settings import TD3Settings

LEAST_SLOPE = 0.05
"""Of the level over the logarithm of the share: more of the carrier never serves a slice worse."""
SLOPE_PENALTY = 0.2
"""Weight of the mean shortfall from `LEAST_SLOPE` in the critics' loss."""
SLOPE_STEP = 0.1
"""Step in the logarithm of the share over which slopes are measured."""


def build_stacked(
    bank: ParameterBank, settings: TD3Settings, counterfactual: CounterfactualReward | None = None
) -> StackedTD3:
    """The updates of a bank's cells, for the kind of critics that `settings` ask for."""
    kind = StackedResponse if settings.critic == "per_slice" else StackedTD3
    return kind(bank, settings, counterfactual)


def select_batch_fields(sampled: Transitions, settings: TD3Settings) -> tuple[np.ndarray, ...]:
    """The first fields of a `Batch`: those of the transitions that the critics learn from."""
    *common, counterfactual_inputs, reward_inputs = sampled
    if settings.critic != "per_slice":
        return (*common, counterfactual_inputs)
    return (*common, service_levels(sampled.obs, reward_inputs))


class ResponseBlock(TD3Block):
    """The updates of some rows of a bank whose critics are per slice."""

    def update_critics(self, batch: Any) -> Tensor:
        """One Adam step of the twin critics; returns the sum of their losses per cell."""
        layers = self._layers["critics"]
        pairs = join_share(batch.obs, batch.action)
        # Slopes of every second transition: they cost as much as the predictions themselves.
        shifted = pairs[:, ::2].clone()
        shifted[..., -1] += SLOPE_STEP
        n_rows, n_shifted = pairs[0, ..., 0].numel(), shifted[0, ..., 0].numel()
        x = torch.cat([pairs.flatten(1, 2), shifted.flatten(1, 2)], dim=1)
        x = x.repeat_interleave(2, dim=0)
        q, inputs = forward(layers, x)
        q = q + extrapolate_levels(x, x[..., -1])[..., None]
        level, above = q[:, :n_rows, 0], q[:, n_rows:, 0]
        error = level - batch.measured.flatten(1, 2).repeat_interleave(2, dim=0)
        below = level.view(*level.shape[:1], *pairs.shape[1:3])[:, ::2].flatten(1, 2)
        shortfall = (LEAST_SLOPE - (above - below) / SLOPE_STEP).relu_()
        # The gradients of smooth L1 and of the penalty, the latter for both ends of each slope.
        push = (shortfall > 0.0) * (SLOPE_PENALTY / (SLOPE_STEP * n_shifted))
        grad = torch.cat([error.clamp(-1.0, 1.0) / n_rows, -push], dim=1)
        grad[:, :n_rows].view(len(q), *pairs.shape[1:3])[:, ::2] += push.view(
            len(q), -1, pairs.shape[2]
        )
        backward(layers, inputs, grad[..., None], self._grads["critics"])
        self._adam_step["critics"](self._settings.critic_lr)
        size = error.abs()
        smooth_l1 = torch.where(size < 1.0, 0.5 * error.square(), size - 0.5).mean(dim=1)
        loss = smooth_l1 + SLOPE_PENALTY * shortfall.mean(dim=1)
        return loss.view(-1, 2).sum(dim=1)

    def update_actors(self, batch: Any) -> Tensor:
        """One Adam step of the actor up the lowest level that the critics predict.

        Returns the negative of that level, which counts at most as `ENOUGH`.
        """
        logits, kept = compute_logits(self._form, self._layers["actor"], batch.obs)
        action = squash_logits(self._form.squash, logits)
        level, slope = predict_worst(self._layers["critics"], batch.obs, action)
        gradient = slope / ((action + SMALLEST_SHARE) * action.shape[1])
        grad = backpropagate_squash(self._form.squash, action, -gradient)
        backpropagate_logits(self._form, self._layers["actor"], kept, grad, self._grads["actor"])
        self._adam_step["actor"](self._settings.actor_lr)
        return -level.clamp(max=ENOUGH).mean(dim=1)


class StackedResponse(StackedTD3):
    """Updates the critics per slice of all rows of a bank, and their actors where they have any."""

    block = ResponseBlock


def join_share(obs: Tensor, action: Tensor) -> Tensor:
    """(cell, batch, slice, input): each slice's features and the logarithm of its share."""
    features = obs.unflatten(-1, (-1, action.shape[-1])).transpose(-1, -2)
    return torch.cat([features, (action + SMALLEST_SHARE).log()[..., None]], dim=-1)


def predict_worst(critics: Layers, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest level of any slice, (cell, batch), and its slope, (cell, batch, slice).

    The slope is over the logarithm of each share: zero but for the slice with the lowest level, and
    where that level is enough.
    """
    pairs = join_share(obs, action)
    q, inputs = forward(critics, pairs.flatten(1, 2).repeat_interleave(2, dim=0))
    start = extrapolate_levels(pairs, pairs[..., -1])
    level = q.view(-1, 2, *pairs.shape[1:3]).mean(dim=1) + start
    worst, index = level.min(dim=-1, keepdim=True)
    chosen = torch.zeros_like(level).scatter_(-1, index, 0.5 * (worst < ENOUGH))
    grad = chosen.flatten(1).repeat_interleave(2, dim=0)[..., None]
    slope = backward(critics, inputs, grad)[..., -1].view(-1, 2, *pairs.shape[1:3]).sum(dim=1)
    # Where it is not clipped, the start has slope 1.
    inside = (start > LOWEST_LEVEL) & (start < HIGHEST_LEVEL)
    return worst[..., 0], slope + 2.0 * chosen * inside
