"""Each cell's experience in a ring of its own, all rings in one array."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32

from slicing_rllib.env.columns import StepColumns

Rows = Float32[np.ndarray, "*rows width"]


class Transitions(NamedTuple):
    """(s, a, r, s', done) with any leading axes, float32; `terminated` is 0 or 1.

    `outcome` is what the reward was made from, with no columns where that is not known.
    """

    obs: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_obs: np.ndarray
    terminated: np.ndarray
    outcome: np.ndarray


def make_transitions(before: StepColumns, after: StepColumns) -> Transitions:
    """One transition of each cell, from two successive steps of a columnar environment."""
    return Transitions(
        before.obs,
        after.action,
        after.reward,
        after.obs,
        after.terminated.astype(np.float32),
        after.outcome,
    )


class Replay:
    """Rings of equal capacity, a row per cell."""

    def __init__(
        self,
        cells: Sequence[str],
        obs_size: int,
        action_size: int,
        capacity: int,
        outcome_size: int = 0,
        precision: str = "float32",
    ) -> None:
        """What is taken out is float32; kept as float16 it has three digits, in half the memory."""
        self.cells = tuple(cells)
        self.capacity = capacity
        *self._cuts, width = np.cumsum([obs_size, action_size, 1, obs_size, 1, outcome_size])
        self._rows = np.zeros((len(self.cells), capacity, width), precision)
        self._learned_from = self._rows[..., : self._cuts[-1]]
        self.size = np.zeros(len(self.cells), np.int64)
        self._next = np.zeros(len(self.cells), np.int64)
        self._index = np.arange(len(self.cells))

    def add(self, step: Transitions, present: Bool[np.ndarray, " cell"]) -> None:
        """One transition of each cell that is present."""
        rows = self._packed(step)
        if present.all():
            self._rows[self._index, self._next] = rows
        else:
            self._rows[self._index[present], self._next[present]] = rows[present]
        self._next = np.where(present, (self._next + 1) % self.capacity, self._next)
        self.size = np.minimum(self.size + present, self.capacity)

    def sample(self, uniform: Float[np.ndarray, "cell batch"]) -> Transitions:
        """A batch per cell, picked by numbers in [0, 1), without outcomes; zeros if empty."""
        # float32 uniforms times a size may round up to the size itself.
        picked = np.minimum((uniform * self.size[:, None]).astype(np.int64), self.size[:, None] - 1)
        return self._unpacked(self._learned_from[self._index[:, None], np.maximum(picked, 0)])

    def seed(self, cell: str, transitions: Transitions) -> None:
        """Adds transitions to a cell's ring, oldest first; only the last `capacity` stay."""
        row = self._row(cell)
        rows = self._packed(transitions)[-self.capacity :]
        places = (self._next[row] + np.arange(len(rows))) % self.capacity
        self._rows[row, places] = rows
        self._next[row] = (self._next[row] + len(rows)) % self.capacity
        self.size[row] = min(self.size[row] + len(rows), self.capacity)

    def last(self, cell: str, n: int) -> Transitions:
        """A cell's newest transitions, oldest of them first; fewer where there are fewer."""
        row = self._row(cell)
        count = min(n, int(self.size[row]))
        places = (self._next[row] - count + np.arange(count)) % self.capacity
        return self._unpacked(self._rows[row, places])

    def clear(self, cell: str) -> None:
        row = self._row(cell)
        self.size[row] = self._next[row] = 0

    def state(self) -> dict[str, Any]:
        """Only what is filled."""
        filled = int(self.size.max(initial=0))
        return {
            "rows": self._rows[:, :filled].copy(),
            "size": self.size.copy(),
            "next": self._next.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        rows = np.asarray(state["rows"])
        self._rows[:] = 0
        self._rows[:, : rows.shape[1]] = rows
        self.size = np.array(state["size"])
        self._next = np.array(state["next"])

    def _row(self, cell: str) -> int:
        if cell not in self.cells:
            raise KeyError(f"replay: no cell {cell!r}")
        return self.cells.index(cell)

    def _packed(self, step: Transitions) -> Rows:
        obs, action, reward, next_obs, terminated, outcome = step
        columns = [obs, action, reward[..., None], next_obs, terminated[..., None], outcome]
        return np.concatenate(columns, axis=-1, dtype=np.float32)

    def _unpacked(self, rows: np.ndarray) -> Transitions:
        exact = rows.astype(np.float32, copy=False)
        obs, action, reward, next_obs, terminated, outcome = np.split(exact, self._cuts, axis=-1)
        return Transitions(obs, action, reward[..., 0], next_obs, terminated[..., 0], outcome)
