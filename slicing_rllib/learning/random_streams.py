"""Random numbers of a cell as a pure function of (seed, cell, purpose, step).

A stream is drawn in blocks of steps; a block depends on nothing but its number, so that resuming
needs only the step, and one cell's draws never shift another's.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from zlib import crc32

import numpy as np

BLOCK_STEPS = 128


class Purpose(IntEnum):
    """What random numbers are drawn for; each purpose has streams of its own."""

    EXPLORE = 0
    NOISE = 1
    BATCH = 2
    SMOOTHING = 3
    INITIAL_WEIGHTS = 4
    MIXING = 5


Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def cell_key(cell: str) -> int:
    """A number for a cell's name that is the same in every process (Python's `hash` is not)."""
    return crc32(cell.encode())


class CellStreams:
    """Random arrays (cell, *shape) for consecutive steps, for one purpose."""

    def __init__(
        self, seed: int, purpose: Purpose, cells: Sequence[str], shape: tuple[int, ...], draw: Draw
    ) -> None:
        self._seed, self._purpose, self._draw = seed, purpose, draw
        self._cells, self._shape = tuple(cells), shape
        self._block_number = -1
        self._block = np.empty(0, np.float32)

    def at(self, step: int) -> np.ndarray:
        """The float32 numbers of a step."""
        number, within = divmod(step, BLOCK_STEPS)
        if number != self._block_number:
            self._block = np.stack([self._draw_block(cell, number) for cell in self._cells], axis=1)
            self._block_number = number
        return self._block[within]

    def _draw_block(self, cell: str, number: int) -> np.ndarray:
        key = (int(self._purpose), cell_key(cell), number)
        rng = np.random.Generator(
            np.random.SFC64(np.random.SeedSequence(self._seed, spawn_key=key))
        )
        return self._draw(rng, (BLOCK_STEPS, *self._shape))


def draw_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers."""
    return rng.standard_normal(shape, np.float32)


def draw_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers uniform in [0, 1)."""
    return rng.random(shape, np.float32)


def draw_simplex(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Points that are uniform on the simplex: exponential numbers over their sum."""
    drawn = rng.standard_exponential(shape, np.float32)
    return drawn / drawn.sum(axis=-1, keepdims=True)


def draw_bounded(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers uniform between -1 and 1."""
    return 2.0 * rng.random(shape, np.float32) - 1.0
