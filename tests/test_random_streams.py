"""Random numbers are a pure function of seed and key, and results depend on the keys."""

import numpy as np
import pytest

from slicing_rllib.random_streams import (
    BLOCK_STEPS,
    CellStreams,
    Stream,
    derive_run_seed,
    derive_seed,
    derive_ue_keys,
    draw_normal,
    draw_simplex,
    draw_uniforms,
    make_generator,
    mix_bits,
)

OWNERS = {stream.value[0] for stream in Stream}


def select_streams(owner):
    return [stream for stream in Stream if stream.value[0] == owner]


def test_a_derived_seed_never_changes():
    """Values of the first committed results."""
    assert derive_seed(0, Stream.EVALUATION_TRAFFIC, 0) == 728363085
    assert derive_run_seed(0, Stream.EXPERIMENT_ARM, 1) == 1639623819


@pytest.mark.parametrize("owner", sorted(OWNERS))
def test_every_stream_of_a_seed_has_numbers_of_its_own(owner):
    streams = select_streams(owner)
    assert len({derive_seed(7, stream) for stream in streams}) == len(streams)
    draws = {make_generator(seed, stream, 0).random() for seed in (0, 1) for stream in streams}
    assert len(draws) == 2 * len(streams)


def test_a_generator_repeats_itself():
    first, second = (make_generator(3, Stream.CLONING).random(4) for _ in range(2))
    assert first == pytest.approx(second, abs=0)


def make_noise(cells=("cell_1", "cell_2"), seed=1, stream=Stream.NOISE):
    return CellStreams(seed, stream, cells, (3,), draw_normal)


def test_steps_may_be_asked_for_in_any_order():
    first, second = make_noise(), make_noise()
    late = first.at(BLOCK_STEPS + 5).copy()
    second.at(0)
    assert np.array_equal(second.at(BLOCK_STEPS + 5), late)


def test_another_cell_shifts_nobodys_numbers():
    assert np.array_equal(make_noise().at(7)[1], make_noise(("cell_2", "cell_3")).at(7)[0])


@pytest.mark.parametrize("other", [make_noise(seed=2), make_noise(stream=Stream.BATCH)])
def test_seeds_and_purposes_differ(other):
    assert not np.array_equal(make_noise().at(0), other.at(0))


def test_random_splits_lie_on_the_simplex():
    drawn = CellStreams(1, Stream.EXPLORE, ("cell_1",), (4,), draw_simplex).at(0)
    assert drawn.sum() == pytest.approx(1.0, abs=1e-6)
    assert drawn.dtype == np.float32


def test_splitmix64_agrees_with_the_published_test_vector():
    """The first output for seed 1234567 of Vigna's reference implementation."""
    seed = np.array([1234567], np.uint64)
    assert mix_bits(seed + np.uint64(0x9E3779B97F4A7C15)) == np.uint64(6457827717110365317)


def test_an_additional_cell_does_not_change_other_cells_keys():
    few, more = (derive_ue_keys(3, Stream.MOVEMENT, n_cells, 3) for n_cells in (4, 5))
    assert np.array_equal(few, more[:4])


def test_the_keys_of_ues_differ_by_stream_and_seed():
    radio = select_streams("radio")
    keys = [derive_ue_keys(seed, stream, 3, 1) for seed in (0, 1) for stream in radio]
    assert len(np.unique(np.concatenate(keys))) == 6 * len(radio)


def test_draws_are_uniform_and_uncorrelated_between_counters_and_keys():
    keys = derive_ue_keys(0, Stream.MOVEMENT, 50, 200)
    now, later = draw_uniforms(keys, 7), draw_uniforms(keys, 8)

    assert now.min() >= 0
    assert now.max() < 1
    histogram = np.histogram(now, bins=10, range=(0, 1))[0]
    assert histogram == pytest.approx(1000, abs=150)
    assert abs(np.corrcoef(now.ravel(), later.ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(now[:, :-1].ravel(), now[:, 1:].ravel())[0, 1]) < 0.03
