"""What an agent of the environment sends as its action, and the weights that it stands for.

Environment steps on arrays (`step_batched`) always take weights; these are the actions of
PettingZoo's `step`, for learners with other distributions.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float32

LARGEST_LOGIT = 5.0
GRID_PARTS = 10


class Weights:
    """One weight per slice, from 0 to 1, scaled to a sum of 1; zeros alone are equal shares."""

    def __init__(self, n_slices: int) -> None:
        self._shape = (n_slices,)
        self.expected = f"{n_slices} weights"
        """What an action is, for messages."""

    def make_space(self) -> spaces.Box:
        """A new action space of one agent; every element of it is a legal action."""
        return spaces.Box(0.0, 1.0, self._shape, np.float32)

    def decode(self, action: Any) -> Float32[np.ndarray, " slice"] | None:
        """The weight of each slice; None for something that is no action of this kind."""
        weights = np.asarray(action, np.float32)
        return weights if weights.shape == self._shape else None


class Logits:
    """One number per slice, from -5 to 5: shares are their softmax, equal for equal numbers."""

    def __init__(self, n_slices: int) -> None:
        self._shape = (n_slices,)
        self.expected = f"{n_slices} logits"

    def make_space(self) -> spaces.Box:
        return spaces.Box(-LARGEST_LOGIT, LARGEST_LOGIT, self._shape, np.float32)

    def decode(self, action: Any) -> Float32[np.ndarray, " slice"] | None:
        logits = np.asarray(action, np.float32)
        return np.exp(logits - logits.max()) if logits.shape == self._shape else None


class Grid:
    """The number of a split into tenths, at least one for each slice: 84 splits for 4 slices."""

    def __init__(self, n_slices: int) -> None:
        """Raises: ValueError for more slices than tenths."""
        if n_slices > GRID_PARTS:
            raise ValueError(f"action grid: expected at most {GRID_PARTS} slices, got {n_slices}")
        cuts = itertools.combinations(range(1, GRID_PARTS), n_slices - 1)
        edges = np.array([(0, *inner, GRID_PARTS) for inner in cuts])
        self._weights = (np.diff(edges) / GRID_PARTS).astype(np.float32)
        self.expected = f"a number from 0 to {len(edges) - 1}"

    def make_space(self) -> spaces.Space[Any]:
        return spaces.Discrete(len(self._weights))

    def decode(self, action: Any) -> Float32[np.ndarray, " slice"] | None:
        number = np.asarray(action)
        if number.size != 1 or not 0 <= number.item() < len(self._weights):
            return None
        return self._weights[int(number.item())]


Action = Weights | Logits | Grid
ACTIONS: dict[str, type[Action]] = {"weights": Weights, "logits": Logits, "grid": Grid}
"""The kinds of actions by name."""


def make_action(name: str, n_slices: int) -> Action:
    """The kind of action with that name. Raises: ValueError for a name that is not in ACTIONS."""
    if name not in ACTIONS:
        raise ValueError(f"action: expected one of {', '.join(ACTIONS)}, got {name!r}")
    return ACTIONS[name](n_slices)


def require_known_cell(cell: str, cells: Sequence[str], where: str) -> None:
    """Raises ValueError unless `cell` is in `cells`; `where` starts the message."""
    if cell not in cells:
        raise ValueError(f"{where}: expected one of {cells[0]} to {cells[-1]}, got {cell!r}")


def decode_action(kind: Action, cell: str, action: Any) -> Float32[np.ndarray, " slice"]:
    """The weights that a cell's action stands for.

    Raises: ValueError for something that is no action of this kind.
    """
    weights = kind.decode(action)
    if weights is None:
        shape = np.shape(action)
        got = f"shape {shape}" if shape else action
        raise ValueError(f"action of {cell}: expected {kind.expected}, got {got}")
    return weights


def stack_actions(
    actions: Mapping[str, Any],
    cells: Sequence[str],
    required: Bool[np.ndarray, " cell"],
    kind: Action,
    n_slices: int,
) -> Float32[np.ndarray, "cell slice"]:
    """Weights of the slices as one row per cell; ones for cells without an action.

    Raises: ValueError for an unknown cell, something that is no action of this kind, or a cell that
    is `required` to have an action and has none.
    """
    for cell in actions:
        require_known_cell(cell, cells, "action")
    stacked = np.ones((len(cells), n_slices), np.float32)
    for row, (cell, is_required) in enumerate(zip(cells, required, strict=True)):
        if cell in actions:
            stacked[row] = decode_action(kind, cell, actions[cell])
        elif is_required:
            raise ValueError(f"action of {cell}: missing")
    return stacked
