"""From logits to actions: shares by a softmax, or bounded actions by tanh as in the TD3 paper.

Noise is added to the logits of shares, and to bounded actions themselves, which are then clipped.
Source of the latter: Fujimoto et al. 2018, Algorithm 1.
"""

import torch
from torch import Tensor

from slicing_rllib.env import Squash
from slicing_rllib.learning.stacked_mlp import softmax_gradient, softmax_shares


def squash_logits(squash: Squash, logits: Tensor) -> Tensor:
    """Actions (cell, batch, action) of these logits."""
    return torch.tanh(logits) if squash == "tanh" else softmax_shares(logits)


def add_smoothing(squash: Squash, logits: Tensor, noise: Tensor) -> Tensor:
    """Actions of these logits, with noise; both are (cell, batch, action)."""
    if squash == "tanh":
        return (torch.tanh(logits) + noise).clamp(-1.0, 1.0)
    return softmax_shares(logits + noise)


def backpropagate_squash(squash: Squash, action: Tensor, grad: Tensor) -> Tensor:
    """The gradient of the logits, from the actions and the gradient of the actions."""
    if squash == "tanh":
        return grad * (1.0 - action.square())
    return softmax_gradient(action, grad)


def decide(squash: Squash, logits: Tensor, noise: Tensor | None) -> Tensor:
    """Actions of acting policies, in any shape, with exploration noise unless it is None."""
    if squash == "tanh":
        action = torch.tanh(logits)
        return action if noise is None else (action + noise).clamp(-1.0, 1.0)
    return torch.softmax(logits if noise is None else logits + noise, dim=-1)
