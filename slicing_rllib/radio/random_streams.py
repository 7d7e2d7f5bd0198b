"""Random numbers that depend on the stream and its counter only, not on other streams' draws.

Draw number t of a UE is a hash of (the UE's key, t): SplitMix64 in counter mode, on whole arrays. A
stream therefore has no state other than t, and an additional cell does not change other cells'
draws. Source: Steele, Lea & Flood, OOPSLA 2014.
"""

from enum import IntEnum

import numpy as np
from jaxtyping import Float, UInt64

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_TO_UNIT = 2.0**-53


class Stream(IntEnum):
    """What a stream of random numbers is used for: the first element of its spawn key."""

    SHADOWING = 0
    LINE_OF_SIGHT = 1
    COMMON_SHADOWING = 2
    MOVEMENT = 3
    MASK = 4
    WALLS = 5


def make_generator(seed: int, stream: Stream, index: int) -> np.random.Generator:
    """The generator of one stream for the site or cell with that index."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))


def derive_cell_keys(seed: int, stream: Stream, n_cells: int) -> UInt64[np.ndarray, " cell"]:
    """One key per cell; it does not depend on the number of cells."""
    sequences = (np.random.SeedSequence(seed, spawn_key=(stream, k)) for k in range(n_cells))
    return np.array([s.generate_state(1, np.uint64)[0] for s in sequences], np.uint64)


def derive_ue_keys(
    keys: UInt64[np.ndarray, " cell"], ues_per_cell: int
) -> UInt64[np.ndarray, "cell ue_of_cell"]:
    """One key per UE, from the key of the cell that it belongs to."""
    counters = np.arange(1, ues_per_cell + 1, dtype=np.uint64)
    return mix_bits(keys[:, None] + counters * GOLDEN)


def draw_uniforms(keys: UInt64[np.ndarray, "*shape"], counter: int) -> Float[np.ndarray, "*shape"]:
    """Draw number `counter` of each key, uniform on [0, 1)."""
    # Python's integers do not overflow; the mask keeps the lowest 64 bits.
    step = np.uint64((counter + 1) * int(GOLDEN) & 0xFFFFFFFFFFFFFFFF)
    return (mix_bits(keys + step) >> np.uint64(11)) * _TO_UNIT


def mix_bits(words: UInt64[np.ndarray, "*shape"]) -> UInt64[np.ndarray, "*shape"]:
    """SplitMix64's finaliser: each input bit changes half of the output bits on average."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
