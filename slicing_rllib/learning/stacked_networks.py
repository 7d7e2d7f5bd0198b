"""Many equal MLPs at once: parameters in one tensor, one matrix product per layer.

The backward pass of MLPs is written out instead of taken from autograd: for networks this small,
building the autograd graph costs more than the products themselves. Other torch modules, with or
without a learned message before them, are run by `torch.func`, see `ModuleLayers`.

Logits become shares by a softmax, or bounded actions by tanh. Noise is added to the logits of
shares, and to bounded actions themselves, which are then clipped as in the TD3 paper.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slicing_rllib.env import ActorForm, Heard, Squash
from slicing_rllib.env.response_curves import split_by_curves
from slicing_rllib.registry import OwnParts, get_part, is_own

Layers = list[tuple[Tensor, Tensor]]
"""Weight (network, out, in) and bias (network, out) of each layer."""


@dataclass(frozen=True)
class ModuleSpec:
    """A torch module in the place of an MLP, which every process builds in the same way."""

    kind: str
    """`actor` or `critic`."""
    part: str
    """Its name in the registry."""
    obs_size: int
    n_actions: int
    hiddens: tuple[int, ...]
    """Widths of a built-in network; an own one decides its widths itself."""
    heard: Heard | None = None
    """The learned message that the module begins with, if any."""
    own_parts: OwnParts = field(default_factory=OwnParts, compare=False)
    """Enters registered parts in the processes of learners."""

    def build(self) -> nn.Module:
        """The module, with random weights of torch's global generator.

        Raises: ValueError with one line where it is not what its kind has to be.
        """
        make = get_part(self.kind, self.part)
        if not is_own(self.kind, self.part):
            make = partial(make, hiddens=self.hiddens)
        heard, obs_size = self.heard, self.obs_size
        message = None
        if heard is not None:
            message = get_part("message", heard.message).build(heard.n_neighbours, self.n_actions)
            reports = torch.zeros(2, heard.n_neighbours, self.n_actions)
            obs_size -= reports[0].numel()
            obs_size += _require_module("message", heard.message, message, (reports,)).shape[1]
        module = make(obs_size, self.n_actions)
        inputs = [torch.zeros(2, obs_size), torch.zeros(2, self.n_actions)]
        out = _require_module(
            self.kind, self.part, module, inputs[: 2 if self.kind == "critic" else 1]
        )
        if self.kind == "actor" and out.shape != (2, self.n_actions):
            raise ValueError(
                f"actor {self.part!r}: expected (batch, {self.n_actions}) logits, got "
                f"{tuple(out.shape)} for a batch of 2"
            )
        if self.kind == "critic" and out.numel() != 2:
            raise ValueError(
                f"critic {self.part!r}: expected (batch,) values, got {tuple(out.shape)} for a "
                "batch of 2"
            )
        return module if heard is None else HearingModule(message, module, heard, self.n_actions)

    @cached_property
    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes of its parameters."""
        with torch.random.fork_rng(devices=[]):
            module = self.build()
        return [(name, tuple(own.shape)) for name, own in module.named_parameters()]


def _require_module(kind: str, part: str, module: Any, inputs: Sequence[Tensor]) -> Tensor:
    """What a module answers. Raises: ValueError for a thing that banks cannot hold."""
    if not isinstance(module, nn.Module) or [*module.buffers()] or not [*module.parameters()]:
        raise ValueError(
            f"{kind} {part!r}: expected a torch module with parameters and without buffers, got "
            f"{type(module).__name__}"
        )
    try:
        with torch.no_grad():
            out = module.eval()(*inputs)
    except Exception as error:  # Of an own module: anything may happen.
        why = str(error).partition("\n")[0]
        raise ValueError(f"{kind} {part!r}: its module fails: {why}") from error
    if not isinstance(out, Tensor) or not out.is_floating_point() or len(out) != len(inputs[0]):
        raise ValueError(f"{kind} {part!r}: expected a tensor with a row per observation")
    return out


class HearingModule(nn.Module):
    """A network whose learned message takes the place of the neighbours' reports."""

    def __init__(self, message: Any, network: nn.Module, heard: Heard, n_slices: int) -> None:
        super().__init__()
        self.message, self.network = message, network
        self._start = heard.start
        self._shape = heard.n_neighbours, n_slices

    def forward(self, obs: Tensor, *action: Tensor) -> Tensor:
        end = self._start + math.prod(self._shape)
        before, reports, after = (
            obs[..., : self._start],
            obs[..., self._start : end],
            obs[..., end:],
        )
        message = self.message(reports.reshape(-1, *self._shape))
        return self.network(torch.cat([before, message, after], dim=-1), *action)


class ModuleLayers:
    """What `Layers` are for MLPs: the parameters of many networks of one `ModuleSpec`.

    `torch.func` runs the module once for all of them, and autograd takes the gradient.
    """

    def __init__(
        self, spec: ModuleSpec, parameters: Mapping[str, Tensor], module: nn.Module | None = None
    ) -> None:
        """`parameters` are (network, ...) by name."""
        self._spec, self.parameters = spec, dict(parameters)
        if module is None:
            with torch.random.fork_rng(devices=[]):
                module = spec.build()
        self._module = module.eval()

    def __getitem__(self, rows: slice) -> "ModuleLayers":
        own = {name: parameter[rows] for name, parameter in self.parameters.items()}
        return ModuleLayers(self._spec, own, self._module)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As the function of that name; what `backward` needs is the output and all inputs."""
        with torch.enable_grad():
            leaves = [part.detach().requires_grad_() for part in (x, *self.parameters.values())]
            own = dict(zip(self.parameters, leaves[1:], strict=True))
            out = torch.vmap(self._run, randomness="same")(own, leaves[0])
        return out.detach(), [out, *leaves]

    def backward(
        self, kept: list[Tensor], grad: Tensor, into: "ModuleLayers | None" = None
    ) -> Tensor:
        """As the function of that name."""
        out, *leaves = kept
        wanted = leaves if into is not None else leaves[:1]
        gradients = torch.autograd.grad(out, wanted, grad, materialize_grads=True)
        if into is not None:
            for own, gradient in zip(into.parameters.values(), gradients[1:], strict=True):
                own.copy_(gradient)
        return gradients[0]

    def _run(self, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        if self._spec.kind == "actor":
            return torch.func.functional_call(self._module, parameters, (x,))
        pair = x[:, : self._spec.obs_size], x[:, self._spec.obs_size :]
        return torch.func.functional_call(self._module, parameters, pair).reshape(-1, 1)


AnyLayers = Layers | ModuleLayers

# The gradient of ReLU in one pass, instead of a comparison, a conversion and a product.
relu_gradient = torch.ops.aten.threshold_backward


def forward(layers: AnyLayers, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Outputs (network, batch, out) of ReLU MLPs for x (network, batch, in), and layers' inputs."""
    if isinstance(layers, ModuleLayers):
        return layers.forward(x)
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


def backward(layers: Any, inputs: list[Tensor], grad: Tensor, into: Any = None) -> Tensor:
    """Return the gradient of the input, and write those of weights and biases into `into`.

    `layers` and `into` are both `Layers` or both `ModuleLayers`; `inputs` are those that `forward`
    returned; `grad` is the gradient of its output.
    """
    if isinstance(layers, ModuleLayers):
        return layers.backward(inputs, grad, into)
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


def take_first_twins(layers: AnyLayers) -> AnyLayers:
    """The first of every two networks, as views."""
    if isinstance(layers, ModuleLayers):
        return layers[::2]
    return [(weight[::2], bias[::2]) for weight, bias in layers]


def softmax_gradient(shares: Tensor, grad: Tensor) -> Tensor:
    """The gradient of the logits, from the shares and the gradient of the shares."""
    return shares * (grad - (grad * shares).sum(dim=-1, keepdim=True))


def compute_logits(form: ActorForm, layers: Any, obs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits (cell, batch, action), and the input of each layer for `backpropagate_logits`.

    `layers` are those of `NetworkSizes.deciding_kind`: of the actors, or of critics per slice,
    whose max-min split has no gradient.
    """
    if form.kind == "max_min":
        return _compute_max_min_logits(form.n_actions, layers, obs), []
    if form.kind != "equivariant":
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
    form: ActorForm, layers: Any, inputs: list[Tensor], grad: Tensor, into: Any
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

    actor: tuple[int, ...] | ModuleSpec
    critic: tuple[int, ...] | ModuleSpec
    form: ActorForm
    kinds: tuple[str, ...] = tuple(KINDS)
    """Kinds of networks that a cell has."""

    @property
    def deciding_kind(self) -> str:
        """The kind of networks that actions are computed from."""
        return "critics" if self.form.kind == "max_min" else "actor"

    def find_widths(self, network: str) -> tuple[int, ...] | ModuleSpec:
        """Widths of the network of that name, or of that kind; a spec where it is no MLP."""
        return self.actor if network.endswith("actor") else self.critic

    def count_parameters(self, network: str) -> int:
        """Parameters of the network of that name, or of that kind."""
        return sum(math.prod(shape) for _, shape in _list_shapes(self.find_widths(network)))


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

    def layers(self, kind: str, like: Tensor | None = None) -> Any:
        """Weight (cell x twin, out, in) and bias (cell x twin, out) of each layer, as views; of a
        torch module `ModuleLayers`."""
        rows, spans = (self.flat[kind] if like is None else like).flatten(0, 1), self._spans[kind]
        views = [rows[:, a:b].view(len(rows), *shape) for _, a, b, shape in spans]
        network = self.sizes.find_widths(kind)
        if isinstance(network, ModuleSpec):
            names = (name for name, *_ in spans)
            return ModuleLayers(network, dict(zip(names, views, strict=True)))
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


def _lay_out(
    network: Sequence[int] | ModuleSpec,
) -> list[tuple[str, int, int, tuple[int, ...]]]:
    """Name, start, end and shape of each parameter in a row; each starts at a cache line."""
    spans, start = [], 0
    for name, shape in _list_shapes(network):
        end = start + math.prod(shape)
        spans.append((name, start, end, shape))
        start = _align(end)
    return spans


def _list_shapes(network: Sequence[int] | ModuleSpec) -> list[tuple[str, tuple[int, ...]]]:
    if isinstance(network, ModuleSpec):
        return network.shapes
    # In an nn.Sequential a ReLU stands after each linear layer.
    return [
        (f"{2 * layer}.{name}", shape)
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(network))
        for name, shape in (("weight", (fan_out, fan_in)), ("bias", (fan_out,)))
    ]


def _align(offset: int) -> int:
    """The next offset that starts a cache line.

    Matrix products whose operands have equal alignment sum in equal order, whichever row they are
    in, so that a cell's results do not depend on its row.
    """
    return -(-offset // ALIGNMENT) * ALIGNMENT
