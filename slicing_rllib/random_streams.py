"""Random numbers that depend on the stream and its counter only, not on other streams' draws.

Draw number t of a UE is a hash of (the UE's key, t): SplitMix64 in counter mode, on whole arrays. A
stream therefore has no state other than t, and an additional cell does not change other cells'
draws. Source: Steele, Lea & Flood, OOPSLA 2014.

Random numbers of a cell as a pure function of (seed, cell, purpose, step).

A stream is drawn in blocks of steps; a block depends on nothing but its number, so that resuming
needs only the step, and one cell's draws never shift another's.

Keys of the random streams of this package, and generators made from them.

Random streams of runs and experiments, apart from each other and from those of training.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from zlib import crc32

import numpy as np
from jaxtyping import Float, UInt64

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_TO_UNIT = 2.0**-53


class RadioStream(IntEnum):
    """What a stream of random numbers is used for: the first element of its spawn key."""

    SHADOWING = 0
    LINE_OF_SIGHT = 1
    COMMON_SHADOWING = 2
    MOVEMENT = 3
    MASK = 4
    WALLS = 5


def make_generator(seed: int, stream: RadioStream, index: int) -> np.random.Generator:
    """The generator of one stream for the site or cell with that index."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))


def derive_cell_keys(seed: int, stream: RadioStream, n_cells: int) -> UInt64[np.ndarray, " cell"]:
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


class SpawnKey(IntEnum):
    """First element of a `spawn_key`. The values decide results and must not change."""

    RESAMPLING = 1
    """Blocks that are drawn for the confidence of a decision; the seed is the decision's."""
    RANDOM_CONTROL = 2
    """The source that the measure `random` draws; the seed is the decision's."""
    DECISION = 77
    """The seed of one decision; derived from the run's seed, the cell and the step."""
    DRIFT_TEST = 78
    """Permutations of one drift test; derived from the run's seed, the cell and the step."""


def make_seed_sequence(seed: int, key: SpawnKey, *parts: int) -> np.random.SeedSequence:
    """The seed sequence of one purpose; `parts` distinguish its uses, for instance by step."""
    return np.random.SeedSequence(seed, spawn_key=(int(key), *parts))


def make_rng(seed: int, key: SpawnKey, *parts: int) -> np.random.Generator:
    """A generator of the stream that `make_seed_sequence` names."""
    return np.random.default_rng(make_seed_sequence(seed, key, *parts))


class RunStream(IntEnum):
    """First element of a stream's spawn key. Another value would change results."""

    EVALUATION_TRAFFIC = 1_000_003
    """Traffic and movement of evaluations, by number of the evaluation seed."""
    BASELINE_FITTING = 1_000_004
    """Traffic on which the baseline `best_static` is fitted."""
    DEFAULT_ACTION_TRAFFIC = 1_000_005
    """Traffic of extra steps under the default action, by which cells are compared."""
    TRANSFER_RUN = 1_000_006
    """Seed of a run that transfers to a cell of another run."""
    EXPERIMENT_ARM = 1_000_007
    """Training seed of an experiment's arm, by role of the arm."""
    CLONING = 1_000_008
    """Traffic and first weights of policies that imitate a baseline."""


def derive_seed(seed: int, *key: int) -> int:
    """A seed of 32 bits that is independent of those with other keys."""
    sequence = np.random.SeedSequence(seed, spawn_key=key)
    return int(sequence.generate_state(1)[0])


def derive_run_seed(seed: int, *key: int) -> int:
    """As `derive_seed`, of 31 bits: the seed of another run."""
    return derive_seed(seed, *key) % 2**31


def make_run_generator(seed: int, *key: int) -> np.random.Generator:
    """A generator whose numbers are independent of those with other keys."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
