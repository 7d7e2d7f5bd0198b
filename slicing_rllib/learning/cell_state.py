"""How each cell acts and learns at the moment: exploring, paused, guarded, on which experience."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32


class SamplingSettings(NamedTuple):
    """How env runners let each cell act in the coming steps."""

    explores: Bool[np.ndarray, " cell"]
    """Cells that act at random."""
    noise_sigma: Float32[np.ndarray, " cell"]
    """Standard deviation of the noise on the other cells' logits."""
    guarded_rows: tuple[int, ...] = ()
    """Rows of cells whose policy is compared with the default action at every step."""


class CellStates:
    """One number per cell for each thing that can be set for a single cell."""

    def __init__(self, cells: Sequence[str], exploration_steps: int, noise_sigma: float) -> None:
        """Every cell explores for `exploration_steps`, then acts with noise of `noise_sigma`."""
        self._row = {cell: row for row, cell in enumerate(cells)}
        n_cells = len(self._row)
        self.exploration_left = np.full(n_cells, exploration_steps)
        """Steps that a cell still decides at random."""
        self.noise_sigma = np.full(n_cells, noise_sigma, np.float32)
        """Standard deviation of the exploration noise on a cell's logits."""
        self.paused = np.zeros(n_cells, bool)
        """Cells that are not updated."""
        self.actor_delay_updates = np.zeros(n_cells, np.int64)
        """Updates for which a cell's actor still stays as it is while its critics learn."""
        self.source_share = np.zeros(n_cells)
        """Share of each batch that comes from other cells' experience in `TD3.source_replay`."""
        self.source_share_decay = np.ones(n_cells)
        """Factor by which that share is multiplied at each update."""
        self.frozen_parameters: dict[str, tuple[str, ...]] = {}
        """By cell, prefixes of the names of parameters that no update changes."""
        self._guarded = np.zeros(n_cells, bool)

    def row(self, cell: str) -> int:
        """A cell's index. Raises: KeyError for an unknown cell."""
        if cell not in self._row:
            raise KeyError(f"no cell {cell!r}, expected one of {', '.join(self._row)}")
        return self._row[cell]

    def sampling_settings(self) -> SamplingSettings:
        """What env runners need to know for the next step."""
        return SamplingSettings(
            self.exploration_left > 0,
            self.noise_sigma.copy(),
            tuple(np.flatnonzero(self._guarded).tolist()),
        )

    def count_exploration(self, decided: Bool[np.ndarray, " cell"]) -> None:
        """Count one step of exploration for the cells whose action it was."""
        self.exploration_left = np.maximum(self.exploration_left - decided, 0)

    def count_update(self) -> None:
        """Count one update: delays shorten and shares of source experience decay."""
        self.actor_delay_updates = np.maximum(self.actor_delay_updates - 1, 0)
        self.source_share *= self.source_share_decay

    def set_guarded(self, cell: str, is_guarded: bool = True) -> None:
        """Start or end the step-by-step comparison of a cell's policy with the default action."""
        self._guarded[self.row(cell)] = is_guarded

    def state(self) -> dict[str, Any]:
        """Copies of all numbers, for a checkpoint."""
        return {name: _copy(value) for name, value in vars(self).items() if name != "_row"}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back."""
        for name, value in state.items():
            setattr(self, name, _copy(value))


def _copy(value: Any) -> Any:
    return np.array(value) if isinstance(value, np.ndarray) else dict(value)
