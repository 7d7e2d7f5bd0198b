"""Forward and backward passes of many cells' actors at once, for each form of an actor."""

import torch
from torch import Tensor

from slicing_rllib.env import ActorForm
from slicing_rllib.learning.stacked_mlp import Layers, backward, forward


def compute_logits(form: ActorForm, layers: Layers, obs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits (cell, batch, action), and the input of each layer for `backpropagate_logits`."""
    if form.kind == "mlp":
        logits, inputs = forward(layers, obs)
    else:
        output, inputs = forward(layers, pool_features(obs, form.n_actions).flatten(1, 2))
        logits = output.view(*obs.shape[:2], form.n_actions)
    if form.base_policy != "none":
        logits = logits + obs[..., -form.n_actions :]
    return logits, inputs


def backpropagate_logits(
    form: ActorForm, layers: Layers, inputs: list[Tensor], grad: Tensor, into: Layers
) -> None:
    """Write the gradients of all layers into `into`; `grad` is the gradient of the logits."""
    if form.kind == "equivariant":
        grad = grad.reshape(len(grad), -1, 1)
    backward(layers, inputs, grad, into)


def pool_features(obs: Tensor, n_slices: int) -> Tensor:
    """(cell, batch, slice, feature): each feature, its mean and its maximum over slices."""
    features = obs.unflatten(-1, (-1, n_slices)).transpose(-1, -2)
    mean = features.mean(dim=-2, keepdim=True).expand_as(features)
    largest = features.amax(dim=-2, keepdim=True).expand_as(features)
    return torch.cat([features, mean, largest], dim=-1)
