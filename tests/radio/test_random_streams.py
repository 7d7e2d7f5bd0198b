"""Random numbers by key and counter."""

import numpy as np
import pytest

from slicing_rllib.radio.random_streams import (
    Stream,
    cell_keys,
    generator,
    member_keys,
    mixed,
    uniforms,
)


def test_splitmix64_is_the_published_one():
    """First output of seed 1234567, as in Vigna's reference implementation's test vectors."""
    seed = np.array([1234567], np.uint64)
    assert mixed(seed + np.uint64(0x9E3779B97F4A7C15)) == np.uint64(6457827717110365317)


def test_one_more_cell_shifts_nobodys_stream():
    few, more = cell_keys(3, Stream.MOVEMENT, 4), cell_keys(3, Stream.MOVEMENT, 5)
    assert np.array_equal(few, more[:4])


def test_purposes_and_seeds_have_streams_of_their_own():
    keys = [cell_keys(seed, stream, 3) for seed in (0, 1) for stream in Stream]
    assert len(np.unique(np.concatenate(keys))) == 6 * len(Stream)
    draws = [generator(0, stream, 0).random() for stream in Stream]
    assert len(set(draws)) == len(Stream)


def test_draws_are_uniform_and_uncorrelated_in_time_and_between_members():
    keys = member_keys(cell_keys(0, Stream.MOVEMENT, 50), 200)
    now, later = uniforms(keys, 7), uniforms(keys, 8)

    assert now.min() >= 0
    assert now.max() < 1
    histogram = np.histogram(now, bins=10, range=(0, 1))[0]
    assert histogram == pytest.approx(1000, abs=150)
    assert abs(np.corrcoef(now.ravel(), later.ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(now[:, :-1].ravel(), now[:, 1:].ravel())[0, 1]) < 0.03
