"""How each cell learns just now: exploring, paused, held back, on foreign experience."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32


class SamplingSettings(NamedTuple):
    """What an env runner is told for the steps to come."""

    explores: Bool[np.ndarray, " cell"]
    """Acts at random."""
    noise_sigma: Float32[np.ndarray, " cell"]
    """Of the logits of those that don't."""
    guarded_rows: tuple[int, ...] = ()
    """Rows whose policy is held against the default action, step by step."""


class CellStates:
    """A number per cell for each thing that can be told to one cell alone."""

    def __init__(self, cells: Sequence[str], exploration_steps: int, noise_sigma: float) -> None:
        self._row = {cell: row for row, cell in enumerate(cells)}
        n_cells = len(self._row)
        self.exploration_left = np.full(n_cells, exploration_steps)
        self.noise_sigma = np.full(n_cells, noise_sigma, np.float32)
        self.paused = np.zeros(n_cells, bool)
        self.actor_delay_updates = np.zeros(n_cells, np.int64)
        """Updates for which the actor still waits for its critics."""
        self.source_share = np.zeros(n_cells)
        """Share of each batch that is other cells' experience, kept beside one's own."""
        self.source_share_decay = np.ones(n_cells)
        """What that share is multiplied by at each update."""
        self.frozen_parameters: dict[str, tuple[str, ...]] = {}
        """By cell, the beginnings of the names of parameters that stay as they are."""
        self._guarded = np.zeros(n_cells, bool)

    def row(self, cell: str) -> int:
        """Raises: KeyError for an unknown cell."""
        if cell not in self._row:
            raise KeyError(f"no cell {cell!r}, expected one of {', '.join(self._row)}")
        return self._row[cell]

    def orders(self) -> SamplingSettings:
        return SamplingSettings(
            self.exploration_left > 0,
            self.noise_sigma.copy(),
            tuple(np.flatnonzero(self._guarded).tolist()),
        )

    def explored(self, decided: Bool[np.ndarray, " cell"]) -> None:
        """A step of exploration is over for the cells that decided it."""
        self.exploration_left = np.maximum(self.exploration_left - decided, 0)

    def updated(self) -> None:
        """An update is over."""
        self.actor_delay_updates = np.maximum(self.actor_delay_updates - 1, 0)
        self.source_share *= self.source_share_decay

    def set_guarded(self, cell: str, watched: bool = True) -> None:
        self._guarded[self.row(cell)] = watched

    def state(self) -> dict[str, Any]:
        return {name: _copied(value) for name, value in vars(self).items() if name != "_row"}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, _copied(value))


def _copied(value: Any) -> Any:
    return np.array(value) if isinstance(value, np.ndarray) else dict(value)
