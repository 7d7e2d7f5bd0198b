"""The parameters of all cells, one tensor per network kind; a cell's module is a view of a row."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from slicing_rllib.env import ActorForm
from slicing_rllib.learning.stacked_mlp import Layers

TRAINED = ("actor", "critic_1", "critic_2")
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

    def find_widths(self, network: str) -> tuple[int, ...]:
        """Widths of the network of that name, such as `target_critic_1`."""
        return self.actor if network.endswith("actor") else self.critic


def list_layer_shapes(widths: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's parameters, by the names in an nn.Sequential (`0.weight`)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        # In the Sequential a ReLU stands after each linear layer, so their numbers go up by two.
        shapes[f"{2 * layer}.weight"] = (fan_out, fan_in)
        shapes[f"{2 * layer}.bias"] = (fan_out,)
    return shapes


class ParameterBank:
    """`flat[kind]` is (cell, twin, parameter); `layers` gives views of it, layer by layer."""

    def __init__(
        self,
        n_cells: int,
        sizes: NetworkSizes,
        kinds: Sequence[str] = tuple(KINDS),
        device: torch.device | str = "cpu",
    ) -> None:
        """Zeros. `sizes` are the widths of every cell's networks; `kinds` are those to hold."""
        self.sizes = sizes
        self.device = torch.device(device)
        self.n_cells = n_cells
        self._spans = {kind: _lay_out(sizes.find_widths(KINDS[kind][0])) for kind in kinds}
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
    for name, shape in list_layer_shapes(widths).items():
        end = start + int(np.prod(shape))
        spans.append((name, start, end, shape))
        start = _align(end)
    return spans


def _align(offset: int) -> int:
    """The next offset that starts a cache line.

    Matrix products whose operands have equal alignment sum in equal order, whichever row they are
    in, so that a cell's results do not depend on its row.
    """
    return -(-offset // ALIGNMENT) * ALIGNMENT
