"""Many equal MLPs at once: parameters in one tensor, one matrix product per layer.

The backward pass is written out instead of taken from autograd: for networks this small, building
the autograd graph costs more than the products themselves.

Logits become shares by a softmax, or bounded actions by tanh. Noise is added to the logits of
shares, and to bounded actions themselves, which are then clipped as in the TD3 paper.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from slicing_rllib.env import ActorForm, Squash
from slicing_rllib.env.response_curves import split_by_curves

Layers = list[tuple[Tensor, Tensor]]
"""Weight (network, out, in) and bias (network, out) of each layer."""

# The gradient of ReLU in one pass, instead of a comparison, a conversion and a product.
relu_gradient = torch.ops.aten.threshold_backward


def forward(layers: Layers, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Outputs (network, batch, out) of ReLU MLPs for x (network, batch, in), and layers' inputs."""
    inputs = []
    for weight, bias in layers[:-1]:
        inputs.append(x)
        x = _apply_layer(x, weight, bias).relu_()
    inputs.append(x)
    return _apply_layer(x, *layers[-1]), inputs


def _apply_layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W^T + b of each network.

    A single matrix product is summed in another order than a batch of them. A single network is
    therefore computed as a batch of two, so that its results do not depend on its company.
    """
    if len(x) == 1:
        pair = (tensor.expand(2, *tensor.shape[1:]) for tensor in (x, weight, bias))
        return _apply_layer(*pair)[:1]
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))


def backward(
    layers: Layers, inputs: list[Tensor], grad: Tensor, into: Layers | None = None
) -> Tensor:
    """Return the gradient of the input, and write those of weights and biases into `into`.

    `inputs` are those that `forward` returned; `grad` is the gradient of its output.
    """
    for number in reversed(range(len(layers))):
        weight, x = layers[number][0], inputs[number]
        if into is not None:
            weight_grad, bias_grad = into[number]
            weight_grad.copy_(torch.bmm(grad.transpose(1, 2), x))
            torch.sum(grad, dim=1, out=bias_grad)
        grad = torch.bmm(grad, weight)
        if number:
            grad = relu_gradient(grad, x, 0.0)
    return grad


def softmax_gradient(shares: Tensor, grad: Tensor) -> Tensor:
    """The gradient of the logits, from the shares and the gradient of the shares."""
    return shares * (grad - (grad * shares).sum(dim=-1, keepdim=True))


def compute_logits(form: ActorForm, layers: Layers, obs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits (cell, batch, action), and the input of each layer for `backpropagate_logits`.

    `layers` are those of `NetworkSizes.deciding_kind`: of the actors, or of critics per slice,
    whose max-min split has no gradient.
    """
    if form.kind == "max_min":
        return _compute_max_min_logits(form.n_actions, layers, obs), []
    if form.kind == "mlp":
        logits, inputs = forward(layers, obs)
    else:
        output, inputs = forward(layers, pool_features(obs, form.n_actions).flatten(1, 2))
        logits = output.view(*obs.shape[:2], form.n_actions)
    if form.base_policy != "none":
        logits = logits + obs[..., -form.n_actions :]
    return logits, inputs


def _compute_max_min_logits(n_slices: int, layers: Layers, obs: Tensor) -> Tensor:
    """Logarithms of the max-min splits, so that noise on logits is a factor on shares."""
    twins = [(w.cpu().unflatten(0, (-1, 2)).numpy(), b.cpu().unflatten(0, (-1, 2)).numpy())
             for w, b in layers]  # fmt: skip
    rows = obs.cpu().numpy()
    if len(rows) == 1:
        split = split_by_curves(twins, rows[0], n_slices)[None]
    else:
        batch = [split_by_curves(twins, rows[:, i], n_slices) for i in range(rows.shape[1])]
        split = np.stack(batch, axis=1)
    return torch.from_numpy(split).log().to(obs)


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


def squash_logits(squash: Squash, logits: Tensor, noise: Tensor | None = None) -> Tensor:
    """What `decide` returns, for (cell, batch, action).

    The last axis is short; torch computes a softmax faster over an axis that is not the last.
    """
    if squash == "tanh":
        return decide(squash, logits, noise)
    noisy = logits if noise is None else logits + noise
    return torch.softmax(noisy.transpose(1, 2).contiguous(), dim=1).transpose(1, 2)


def backpropagate_squash(squash: Squash, action: Tensor, grad: Tensor) -> Tensor:
    """The gradient of the logits, from the actions and the gradient of the actions."""
    if squash == "tanh":
        return grad * (1.0 - action.square())
    return softmax_gradient(action, grad)


def decide(squash: Squash, logits: Tensor, noise: Tensor | None) -> Tensor:
    """Actions of these logits, in any shape, with noise unless it is None."""
    if squash == "tanh":
        action = torch.tanh(logits)
        return action if noise is None else (action + noise).clamp(-1.0, 1.0)
    return torch.softmax(logits if noise is None else logits + noise, dim=-1)


KINDS = {
    "actor": ("actor",),
    "critics": ("critic_1", "critic_2"),
    "target_actor": ("target_actor",),
    "target_critics": ("target_critic_1", "target_critic_2"),
}
"""Kinds of networks, and the networks of each. Twins share a tensor, and so a matrix product."""

ALIGNMENT = 16
"""float32 numbers in a cache line."""


@dataclass(frozen=True)
class NetworkSizes:
    """Widths of a cell's networks, input and output included, and the form of its actor."""

    actor: tuple[int, ...]
    critic: tuple[int, ...]
    form: ActorForm
    kinds: tuple[str, ...] = tuple(KINDS)
    """Kinds of networks that a cell has."""

    @property
    def deciding_kind(self) -> str:
        """The kind of networks that actions are computed from."""
        return "critics" if self.form.kind == "max_min" else "actor"

    def find_widths(self, network: str) -> tuple[int, ...]:
        """Widths of the network of that name, or of that kind."""
        return self.actor if network.endswith("actor") else self.critic


class ParameterBank:
    """`flat[kind]` is (cell, twin, parameter); `layers` gives views of it, layer by layer."""

    def __init__(
        self,
        n_cells: int,
        sizes: NetworkSizes,
        kinds: Sequence[str] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Zeros. `sizes` are the widths of every cell's networks; `kinds` those to hold, or all."""
        self.sizes, self.n_cells, self.device = sizes, n_cells, torch.device(device)
        self._spans = {kind: _lay_out(sizes.find_widths(kind)) for kind in kinds or sizes.kinds}
        self.flat = {
            kind: torch.zeros((n_cells, len(KINDS[kind]), _align(spans[-1][2])), device=self.device)
            for kind, spans in self._spans.items()
        }

    def layers(self, kind: str, like: Tensor | None = None) -> Layers:
        """Weight (cell x twin, out, in) and bias (cell x twin, out) of each layer, as views."""
        rows = (self.flat[kind] if like is None else like).flatten(0, 1)
        views = [rows[:, a:b].unflatten(1, shape) for _, a, b, shape in self._spans[kind]]
        return list(zip(views[::2], views[1::2], strict=True))

    def iterate_row(self, row: int) -> Iterator[tuple[str, Tensor]]:
        """Names and views of a cell's parameters, named as its module names them."""
        for kind, spans in self._spans.items():
            for twin, network in enumerate(KINDS[kind]):
                for name, start, end, shape in spans:
                    yield f"{network}.{name}", self.flat[kind][row, twin, start:end].view(shape)

    def adopt(self, row: int, module: nn.Module) -> None:
        """Copy a module's parameters into a row, and make them views of that row."""
        parameters = dict(module.named_parameters())
        for name, view in self.iterate_row(row):
            view.copy_(parameters[name].data)
            parameters[name].data = view


def _lay_out(widths: Sequence[int]) -> list[tuple[str, int, int, tuple[int, ...]]]:
    """Name, start, end and shape of each parameter in a row; each starts at a cache line."""
    spans, start = [], 0
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        for name, shape in (("weight", (fan_out, fan_in)), ("bias", (fan_out,))):
            end = start + math.prod(shape)
            # In an nn.Sequential a ReLU stands after each linear layer.
            spans.append((f"{2 * layer}.{name}", start, end, shape))
            start = _align(end)
    return spans


def _align(offset: int) -> int:
    """The next offset that starts a cache line.

    Matrix products whose operands have equal alignment sum in equal order, whichever row they are
    in, so that a cell's results do not depend on its row.
    """
    return -(-offset // ALIGNMENT) * ALIGNMENT
