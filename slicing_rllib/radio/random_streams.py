"""Random numbers that depend on who draws and when, not on who drew before.

SplitMix64 in counter mode, over whole arrays: draw number t of UE u is a hash of (its key, t), so a
stream needs no state beyond t, and one more cell shifts nobody's draws.
Source: Steele, Lea & Flood, OOPSLA 2014.
"""

from enum import IntEnum

import numpy as np
from jaxtyping import Float, UInt64

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_TO_UNIT = 2.0**-53


class Stream(IntEnum):
    """What a stream of random numbers is for."""

    SHADOWING = 0
    LINE_OF_SIGHT = 1
    COMMON_SHADOWING = 2
    MOVEMENT = 3
    MASK = 4
    WALLS = 5


def generator(seed: int, stream: Stream, index: int) -> np.random.Generator:
    """The generator of one site or cell for one purpose."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))


def cell_keys(seed: int, stream: Stream, n_cells: int) -> UInt64[np.ndarray, " cell"]:
    """One key per cell; adding a cell leaves the others' keys as they are."""
    sequences = (np.random.SeedSequence(seed, spawn_key=(stream, k)) for k in range(n_cells))
    return np.array([s.generate_state(1, np.uint64)[0] for s in sequences], np.uint64)


def member_keys(
    keys: UInt64[np.ndarray, " cell"], members: int
) -> UInt64[np.ndarray, "cell member"]:
    """One key per member of a cell, from the cell's key."""
    counters = np.arange(1, members + 1, dtype=np.uint64)
    return mixed(keys[:, None] + counters * GOLDEN)


def uniforms(keys: UInt64[np.ndarray, "*shape"], counter: int) -> Float[np.ndarray, "*shape"]:
    """Draw number `counter` of each key, uniform on [0, 1)."""
    # In Python's integers, which don't overflow; then 64 bits of it.
    step = np.uint64((counter + 1) * int(GOLDEN) & 0xFFFFFFFFFFFFFFFF)
    return (mixed(keys + step) >> np.uint64(11)) * _TO_UNIT


def mixed(words: UInt64[np.ndarray, "*shape"]) -> UInt64[np.ndarray, "*shape"]:
    """SplitMix64's finaliser: every input bit flips half of the output bits."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
