"""Where an actor climbs to: along its critic, along the counterfactual reward, or along both."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from slicing_rllib.env import CounterfactualReward


class ActionGradient(NamedTuple):
    """The objective per cell, and its derivative with respect to the actions."""

    objective: Tensor
    """Mean over the batch, (cell,)."""
    gradient: Tensor
    """(cell, batch, action), of the mean over the batch."""


Gradient = Callable[[Tensor, Tensor, Tensor], ActionGradient]
"""Called with obs, action and feedback, (cell, batch, ...) each."""


def counterfactual_gradient(reward: CounterfactualReward) -> Gradient:
    """The gradient of the reward that an action would have earned in the measured step."""

    def compute(obs: Tensor, action: Tensor, feedback: Tensor) -> ActionGradient:
        measured, applied = feedback.cpu().numpy(), np.ascontiguousarray(action.cpu().numpy())
        rewards, slopes = reward.reward_and_gradient(measured, applied)
        objective = torch.from_numpy(rewards.mean(axis=-1)).to(action.device)
        gradient = torch.from_numpy(slopes).to(action.device)
        return ActionGradient(objective, gradient / action.shape[1])

    return compute


def blend_gradients(first: Gradient, second: Gradient, second_weight: float) -> Gradient:
    """(1 - w) times one gradient plus w times the other; `second_weight` is w, from 0 to 1."""

    def compute(obs: Tensor, action: Tensor, feedback: Tensor) -> ActionGradient:
        ours, theirs = first(obs, action, feedback), second(obs, action, feedback)
        return ActionGradient(
            torch.lerp(ours.objective, theirs.objective, second_weight),
            torch.lerp(ours.gradient, theirs.gradient, second_weight),
        )

    return compute
