"""All cells' parameters of a kind in one tensor; each cell's module is a view of its row."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

TRAINED = ("actor", "critic_1", "critic_2")
KINDS = {
    "actor": ("actor",),
    "critics": ("critic_1", "critic_2"),
    "target_actor": ("target_actor",),
    "target_critics": ("target_critic_1", "target_critic_2"),
}
"""Networks of one shape that always work together: twins share a tensor, and a matrix product."""

ALIGNMENT = 16
"""Numbers of four bytes in a cache line."""

Layers = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class NetworkSizes:
    """Widths of a cell's networks, input and output included."""

    actor: tuple[int, ...]
    critic: tuple[int, ...]

    def of(self, network: str) -> tuple[int, ...]:
        return self.actor if network.endswith("actor") else self.critic


def layer_shapes(widths: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """A network's parameters as an nn.Sequential names them ("0.weight"), and their shapes."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        # ReLUs stand between the linear layers of a Sequential, so these count by two.
        shapes[f"{2 * layer}.weight"] = (fan_out, fan_in)
        shapes[f"{2 * layer}.bias"] = (fan_out,)
    return shapes


class ParameterBank:
    """`flat[kind]` is (cell, twin, parameter); `layers` are the same numbers by layer."""

    def __init__(
        self,
        n_cells: int,
        sizes: NetworkSizes,
        kinds: Sequence[str] = tuple(KINDS),
        device: torch.device | str = "cpu",
    ) -> None:
        self.sizes = sizes
        self.device = torch.device(device)
        self.n_cells = n_cells
        self._spans = {kind: _spans(sizes.of(KINDS[kind][0])) for kind in kinds}
        self.flat = {
            kind: torch.zeros(
                (n_cells, len(KINDS[kind]), _aligned(spans[-1][2])), device=self.device
            )
            for kind, spans in self._spans.items()
        }

    def layers(self, kind: str, like: Tensor | None = None) -> Layers:
        """Weight (cell x twin, out, in) and bias (cell x twin, out) of each layer, as views."""
        rows = (self.flat[kind] if like is None else like).flatten(0, 1)
        views = [rows[:, a:b].unflatten(1, shape) for _, a, b, shape in self._spans[kind]]
        return list(zip(views[::2], views[1::2], strict=True))

    def rows(self, row: int) -> Iterator[tuple[str, Tensor]]:
        """A cell's parameters by the names that its module gives them, as views."""
        for kind, spans in self._spans.items():
            for twin, network in enumerate(KINDS[kind]):
                for name, start, end, shape in spans:
                    yield f"{network}.{name}", self.flat[kind][row, twin, start:end].view(shape)

    def adopt(self, row: int, module: nn.Module) -> None:
        """Copies a module's parameters into a row and lets the module live there from now on."""
        parameters = dict(module.named_parameters())
        for name, view in self.rows(row):
            view.copy_(parameters[name].data)
            parameters[name].data = view


def _spans(widths: Sequence[int]) -> list[tuple[str, int, int, tuple[int, ...]]]:
    """Name, begin, end, shape of each parameter in a row; each begins where caches do."""
    spans, start = [], 0
    for name, shape in layer_shapes(widths).items():
        end = start + int(np.prod(shape))
        spans.append((name, start, end, shape))
        start = _aligned(end)
    return spans


def _aligned(place: int) -> int:
    """Products of matrices that begin alike are summed alike, whichever row they stand in."""
    return -(-place // ALIGNMENT) * ALIGNMENT
