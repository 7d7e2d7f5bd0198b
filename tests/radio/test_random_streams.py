"""Random numbers from keys and counters."""

import numpy as np
import pytest

from slicing_rllib.random_streams import (
    RadioStream as Stream,
)
from slicing_rllib.random_streams import (
    derive_cell_keys,
    derive_ue_keys,
    draw_uniforms,
    make_generator,
    mix_bits,
)


def test_splitmix64_agrees_with_the_published_test_vector():
    """The first output for seed 1234567 of Vigna's reference implementation."""
    seed = np.array([1234567], np.uint64)
    assert mix_bits(seed + np.uint64(0x9E3779B97F4A7C15)) == np.uint64(6457827717110365317)


def test_an_additional_cell_does_not_change_other_cells_keys():
    few, more = derive_cell_keys(3, Stream.MOVEMENT, 4), derive_cell_keys(3, Stream.MOVEMENT, 5)
    assert np.array_equal(few, more[:4])


def test_streams_differ_by_purpose_and_seed():
    keys = [derive_cell_keys(seed, stream, 3) for seed in (0, 1) for stream in Stream]
    assert len(np.unique(np.concatenate(keys))) == 6 * len(Stream)
    draws = [make_generator(0, stream, 0).random() for stream in Stream]
    assert len(set(draws)) == len(Stream)


def test_draws_are_uniform_and_uncorrelated_between_counters_and_keys():
    keys = derive_ue_keys(derive_cell_keys(0, Stream.MOVEMENT, 50), 200)
    now, later = draw_uniforms(keys, 7), draw_uniforms(keys, 8)

    assert now.min() >= 0
    assert now.max() < 1
    histogram = np.histogram(now, bins=10, range=(0, 1))[0]
    assert histogram == pytest.approx(1000, abs=150)
    assert abs(np.corrcoef(now.ravel(), later.ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(now[:, :-1].ravel(), now[:, 1:].ravel())[0, 1]) < 0.03
