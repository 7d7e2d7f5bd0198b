"""Random streams of runs and experiments, apart from each other and from those of training."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
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


def make_generator(seed: int, *key: int) -> np.random.Generator:
    """A generator whose numbers are independent of those with other keys."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
