"""Random numbers that are a pure function of a seed and a key: what for, which cell, which step.

No stream depends on how much was drawn from others, so an additional cell does not change other
cells' numbers, and a resumed run needs to know only its step. All keys are in `Stream`.

There are three ways to draw: a NumPy generator per key (`make_generator`); blocks of steps for many
cells (`CellStreams`); and one hash per UE and draw (`draw_uniforms`), for whole networks of UEs.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from zlib import crc32

import numpy as np
from jaxtyping import Float, UInt64


class Stream(Enum):
    """What random numbers are for.

    The value is who owns the seed, and the first number of the spawn key below that seed. These
    numbers decide results and must not change.
    """

    SHADOWING = "radio", 0
    """A site's own shadowing."""
    LINE_OF_SIGHT = "radio", 1
    COMMON_SHADOWING = "radio", 2
    """The part of the shadowing that all sites share."""
    MOVEMENT = "radio", 3
    MASK = "radio", 4
    WALLS = "radio", 5
    """Building losses of UEs."""
    FADING = "radio", 6
    """Angles and phases of the paths of each UE's channel, in a network of kind tti."""
    PACKETS = "radio", 7
    """Packets of a step there."""
    BLOCK_ERRORS = "radio", 8
    """Lost transport blocks and borders of slices of a step there."""

    FIXED_ERROR = "measurement", 31
    """Errors of a cell's needed shares, the same in every step."""
    STEP_ERROR = "measurement", 32
    """Errors of a step's KPIs, by step."""

    EXPLORE = "learning", 0
    """Random actions."""
    NOISE = "learning", 1
    """Noise on actions."""
    BATCH = "learning", 2
    """Transitions of a batch."""
    SMOOTHING = "learning", 3
    """Noise on target actions."""
    INITIAL_WEIGHTS = "learning", 4
    MIXING = "learning", 5
    """Which transitions of a batch come from a transfer's source."""

    RESAMPLING = "decision", 1
    """Blocks that are drawn for the confidence of a decision."""
    RANDOM_CONTROL = "decision", 2
    """The source that the measure `random` draws."""

    DECISION = "run", 77
    """The seed of one transfer decision, by cell and step."""
    DRIFT_TEST = "run", 78
    """Permutations of one drift test, by cell and step."""
    EVALUATION_TRAFFIC = "run", 1_000_003
    """Traffic and movement of evaluations, by number of the evaluation seed."""
    BASELINE_FITTING = "run", 1_000_004
    """Traffic on which the baseline `best_static` is fitted."""
    DEFAULT_ACTION_TRAFFIC = "run", 1_000_005
    """Traffic of extra steps under the default action, by which cells are compared."""
    TRANSFER_RUN = "run", 1_000_006
    """Seed of a run that transfers to a cell of another run."""
    EXPERIMENT_ARM = "run", 1_000_007
    """Training seed of an experiment's arm, by role of the arm."""
    CLONING = "run", 1_000_008
    """Traffic and first weights of policies that imitate a baseline."""
    CLONED_BASELINE = "cloning", 1
    """The imitated baseline's own random numbers."""


def make_seed_sequence(seed: int | None, stream: Stream, *parts: int) -> np.random.SeedSequence:
    """The seed sequence of a stream; `parts` distinguish its uses, for instance by cell or step.

    No seed means system entropy.
    """
    return np.random.SeedSequence(seed, spawn_key=(stream.value[1], *parts))


def make_generator(seed: int, stream: Stream, *parts: int) -> np.random.Generator:
    """A generator of the stream that `make_seed_sequence` names."""
    return np.random.default_rng(make_seed_sequence(seed, stream, *parts))


def derive_seed(seed: int | None, stream: Stream, *parts: int) -> int:
    """A seed of 32 bits from the stream that `make_seed_sequence` names."""
    return int(make_seed_sequence(seed, stream, *parts).generate_state(1)[0])


def derive_run_seed(seed: int, stream: Stream, *parts: int) -> int:
    """As `derive_seed`, of 31 bits: the seed of another run."""
    return derive_seed(seed, stream, *parts) % 2**31


def cell_key(cell: str) -> int:
    """A number for a cell's name that is the same in every process (Python's `hash` is not)."""
    return crc32(cell.encode())


BLOCK_STEPS = 128
Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


class CellStreams:
    """Random arrays (cell, *shape) for consecutive steps, drawn in blocks of `BLOCK_STEPS`."""

    def __init__(
        self, seed: int, stream: Stream, cells: Sequence[str], shape: tuple[int, ...], draw: Draw
    ) -> None:
        self._seed, self._stream, self._draw = seed, stream, draw
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
        sequence = make_seed_sequence(self._seed, self._stream, cell_key(cell), number)
        rng = np.random.Generator(np.random.SFC64(sequence))
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


GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_TO_UNIT = 2.0**-53


def derive_ue_keys(
    seed: int, stream: Stream, n_cells: int, ues_per_cell: int
) -> UInt64[np.ndarray, "cell ue_of_cell"]:
    """One key per UE for `draw_uniforms`; it does not depend on the number of cells."""
    sequences = (make_seed_sequence(seed, stream, k) for k in range(n_cells))
    cells = np.array([s.generate_state(1, np.uint64)[0] for s in sequences], np.uint64)
    counters = np.arange(1, ues_per_cell + 1, dtype=np.uint64)
    return mix_bits(cells[:, None] + counters * GOLDEN)


def draw_uniforms(keys: UInt64[np.ndarray, "*shape"], counter: int) -> Float[np.ndarray, "*shape"]:
    """Draw number `counter` of each key, uniform on [0, 1): SplitMix64 in counter mode.

    Source: Steele, Lea & Flood, OOPSLA 2014.
    """
    # Python's integers do not overflow; the mask keeps the lowest 64 bits.
    step = np.uint64((counter + 1) * int(GOLDEN) & 0xFFFFFFFFFFFFFFFF)
    return (mix_bits(keys + step) >> np.uint64(11)) * _TO_UNIT


def mix_bits(words: UInt64[np.ndarray, "*shape"]) -> UInt64[np.ndarray, "*shape"]:
    """SplitMix64's finaliser: each input bit changes half of the output bits on average."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
