"""Derived seeds stay what they are, because results depend on them."""

import pytest

from slicing_rllib.random_streams import (
    RunStream as Stream,
)
from slicing_rllib.random_streams import (
    derive_run_seed,
    derive_seed,
)
from slicing_rllib.random_streams import (
    make_run_generator as make_generator,
)


def test_a_derived_seed_never_changes():
    """Values of the first committed results."""
    assert derive_seed(0, Stream.EVALUATION_TRAFFIC, 0) == 728363085
    assert derive_run_seed(0, Stream.EXPERIMENT_ARM, 1) == 1639623819


def test_every_stream_has_numbers_of_its_own():
    seeds = [derive_seed(7, stream) for stream in Stream]

    assert len(set(seeds)) == len(Stream)


def test_a_generator_repeats_itself():
    first, second = (make_generator(3, Stream.CLONING).random(4) for _ in range(2))

    assert first == pytest.approx(second, abs=0)
