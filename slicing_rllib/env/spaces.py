"""Gymnasium spaces of an agent, and checks of what agents pass to the environment."""

from collections.abc import Mapping, Sequence

import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float32

from slicing_rllib.env.observation import ObservationLayout
from slicing_rllib.env.widened_observation import Layout


def make_observation_space(layout: Layout, n_cells: int) -> spaces.Box:
    """The range of each value of an observation in a network of `n_cells` cells.

    Logarithms of shares and SINR are unbounded.
    """
    high = np.full(layout.size, np.inf, np.float32)
    low = -high
    if isinstance(layout, ObservationLayout):
        bounded = slice(0, layout.message.stop)
        low[bounded], high[bounded] = 0.0, 1.0
        # All UEs of the network may attach to one cell.
        high[layout.users] = n_cells
        high[layout.load] = high[layout.message] = layout.n_slices
    return spaces.Box(low, high)


def make_action_space(n_slices: int) -> spaces.Box:
    """One weight per slice, in [0, 1]."""
    return spaces.Box(0.0, 1.0, (n_slices,), np.float32)


def stack_actions(
    actions: Mapping[str, np.ndarray],
    cells: Sequence[str],
    required: Bool[np.ndarray, " cell"],
    action_size: int,
) -> Float32[np.ndarray, "cell action"]:
    """Actions as one row per cell; ones for cells without an action.

    Raises: ValueError for an unknown cell, an action of the wrong length, or a cell that is
    `required` to have an action and has none.
    """
    for cell in actions:
        require_known_cell(cell, cells, "action")
    stacked = np.ones((len(cells), action_size), np.float32)
    for row, (cell, is_required) in enumerate(zip(cells, required, strict=True)):
        if cell in actions:
            stacked[row] = _check_action(cell, actions[cell], action_size)
        elif is_required:
            raise ValueError(f"action of {cell}: missing")
    return stacked


def require_known_cell(cell: str, cells: Sequence[str], where: str) -> None:
    """Raises ValueError unless `cell` is in `cells`; `where` starts the message."""
    if cell not in cells:
        raise ValueError(f"{where}: expected one of {cells[0]} to {cells[-1]}, got {cell!r}")


def _check_action(cell: str, action: np.ndarray, size: int) -> Float32[np.ndarray, " action"]:
    row = np.asarray(action, np.float32)
    if row.shape != (size,):
        raise ValueError(f"action of {cell}: expected {size} weights, got shape {row.shape}")
    return row
