"""All cells' parameters in one tensor, a row per cell; each cell's module is a view of its row."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

TRAINED = ("actor", "critic_1", "critic_2")


@dataclass(frozen=True)
class NetworkSizes:
    """Widths of a cell's networks, input and output included."""

    actor: tuple[int, ...]
    critic: tuple[int, ...]

    def of(self, network: str) -> tuple[int, ...]:
        return self.actor if network.endswith("actor") else self.critic


def layer_shapes(sizes: NetworkSizes, networks: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Parameter names as in a cell's module ("actor.0.weight") and their shapes, in bank order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for network in networks:
        widths = sizes.of(network)
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
            # ReLUs stand between the linear layers of a Sequential, so these count by two.
            shapes[f"{network}.{2 * layer}.weight"] = (fan_out, fan_in)
            shapes[f"{network}.{2 * layer}.bias"] = (fan_out,)
    return shapes


class ParameterBank:
    """Rows of `flat` hold a cell's parameters; `layers` are the same numbers, stacked by layer."""

    def __init__(self, n_cells: int, sizes: NetworkSizes, networks: Sequence[str]) -> None:
        self.sizes = sizes
        self.shapes = layer_shapes(sizes, networks)
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()]).tolist()
        self._spans = dict(zip(self.shapes, zip([0, *ends[:-1]], ends, strict=True), strict=True))
        self.flat = torch.zeros((n_cells, ends[-1]))

    def span(self, network: str) -> slice:
        """Columns of `flat` that hold a network."""
        spans = [span for name, span in self._spans.items() if name.startswith(network + ".")]
        return slice(spans[0][0], spans[-1][1])

    def layers(self, network: str, flat: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """Weight (cell, out, in) and bias (cell, out) of each layer, as views of `flat`."""
        source = self.flat if flat is None else flat
        views = [
            source[:, start:end].unflatten(1, self.shapes[name])
            for name, (start, end) in self._spans.items()
            if name.startswith(network + ".")
        ]
        return list(zip(views[::2], views[1::2], strict=True))

    def adopt(self, row: int, module: nn.Module) -> None:
        """Copies a module's parameters into a row and lets the module live there from now on."""
        for name, parameter in module.named_parameters():
            start, end = self._spans[name]
            view = self.flat[row, start:end].view(self.shapes[name])
            view.copy_(parameter.data)
            parameter.data = view
