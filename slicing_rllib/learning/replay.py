"""Replay buffers of all cells: one ring buffer per cell, all of them in one array."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32

from slicing_rllib.env import BatchedStep


class Transitions(NamedTuple):
    """(s, a, r, s', done) with any leading axes, float32."""

    obs: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    next_obs: np.ndarray
    terminated: np.ndarray
    """0 or 1; truncation is not termination."""
    counterfactual_inputs: np.ndarray
    """What the step tells about every action; empty where the environment does not say."""
    reward_inputs: np.ndarray
    """What the reward was computed from; empty where the environment does not tell."""


def make_transitions(before: BatchedStep, after: BatchedStep) -> Transitions:
    """The transitions of all cells from one step to the next one."""
    inputs = after.counterfactual_inputs, after.reward_inputs
    terminated = after.terminated.astype(np.float32)
    return Transitions(before.obs, after.action, after.reward, after.obs, terminated, *inputs)


class Replay:
    """Ring buffers of equal capacity, one per cell."""

    def __init__(
        self,
        cells: Sequence[str],
        obs_size: int,
        action_size: int,
        capacity: int,
        reward_inputs_size: int = 0,
        precision: str = "float32",
        counterfactual_inputs_size: int = 0,
    ) -> None:
        """`capacity` counts transitions per cell.

        `precision` is the type that is stored: `float32`, or `float16` with three digits in half
        the memory. What is read is float32 in both cases.
        """
        self.cells = tuple(cells)
        self.capacity, self.action_size = capacity, action_size
        sizes = [obs_size, action_size, 1, obs_size, 1]
        sizes += [counterfactual_inputs_size, reward_inputs_size]
        *self._cuts, width = np.cumsum(sizes)
        self._rows = np.zeros((len(self.cells), capacity, width), precision)
        self.size, self._next = np.zeros((2, len(self.cells)), np.int64)
        self._index = np.arange(len(self.cells))

    def add(self, step: Transitions, present: Bool[np.ndarray, " cell"]) -> None:
        """Add one transition of each cell that is present."""
        rows = self._pack(step)
        if present.all():
            self._rows[self._index, self._next] = rows
        else:
            self._rows[self._index[present], self._next[present]] = rows[present]
        self._next = np.where(present, (self._next + 1) % self.capacity, self._next)
        self.size = np.minimum(self.size + present, self.capacity)

    def sample(self, uniform: Float[np.ndarray, "cell batch"]) -> Transitions:
        """A batch per cell, picked by numbers in [0, 1); zeros where a buffer is empty."""
        # A float32 below 1 times the size may round up to the size itself.
        picked = np.minimum((uniform * self.size[:, None]).astype(np.int64), self.size[:, None] - 1)
        return self._unpack(self._rows[self._index[:, None], np.maximum(picked, 0)])

    def seed(self, cell: str, transitions: Transitions) -> None:
        """Add transitions, oldest first, to a cell's buffer; the last `capacity` of them stay.

        Raises: KeyError for an unknown cell.
        """
        row = self._find_row(cell)
        rows = self._pack(transitions)[-self.capacity :]
        slots = (self._next[row] + np.arange(len(rows))) % self.capacity
        self._rows[row, slots] = rows
        self._next[row] = (self._next[row] + len(rows)) % self.capacity
        self.size[row] = min(self.size[row] + len(rows), self.capacity)

    def last(self, cell: str, n: int) -> Transitions:
        """A cell's `n` newest transitions, or all if there are fewer, the oldest of them first."""
        row = self._find_row(cell)
        count = min(n, int(self.size[row]))
        slots = (self._next[row] - count + np.arange(count)) % self.capacity
        return self._unpack(self._rows[row, slots])

    def clear(self, cell: str) -> None:
        """Forget a cell's transitions."""
        row = self._find_row(cell)
        self.size[row] = self._next[row] = 0

    def state(self) -> dict[str, Any]:
        """Copies of what is filled, for a checkpoint."""
        filled = int(self.size.max(initial=0))
        parts = {"rows": self._rows[:, :filled], "size": self.size, "next": self._next}
        return {name: part.copy() for name, part in parts.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back."""
        rows = np.asarray(state["rows"])
        self._rows[:] = 0
        self._rows[:, : rows.shape[1]] = rows
        self.size, self._next = np.array(state["size"]), np.array(state["next"])

    def _find_row(self, cell: str) -> int:
        if cell not in self.cells:
            raise KeyError(f"replay: no cell {cell!r}")
        return self.cells.index(cell)

    def _pack(self, step: Transitions) -> Float32[np.ndarray, "*rows width"]:
        reward, terminated = step.reward[..., None], step.terminated[..., None]
        parts = step._replace(reward=reward, terminated=terminated)
        return np.concatenate(parts, axis=-1, dtype=np.float32)

    def _unpack(self, rows: np.ndarray) -> Transitions:
        exact = rows.astype(np.float32, copy=False)
        obs, action, reward, next_obs, terminated, *rest = np.split(exact, self._cuts, axis=-1)
        return Transitions(obs, action, reward[..., 0], next_obs, terminated[..., 0], *rest)
