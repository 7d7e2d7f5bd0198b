"""Keys of the random streams of this package, and generators made from them."""

from enum import IntEnum

import numpy as np


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
