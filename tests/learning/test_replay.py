"""Rings of experience."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slicing_rllib.learning.replay import Replay, Transitions


def numbered(numbers, cells=None):
    """Transitions whose reward is their number."""
    numbers = np.asarray(numbers, np.float32)
    shape = numbers.shape
    ones = np.ones((*shape, 2), np.float32)
    return Transitions(
        ones * numbers[..., None],
        ones[..., :1],
        numbers,
        ones,
        np.zeros(shape, np.float32),
        -numbers[..., None],
        10 * numbers[..., None],
    )


def filled(capacity=3, steps=0):
    replay = Replay(
        ("cell_1", "cell_2"), 2, 1, capacity, reward_inputs_size=1, counterfactual_inputs_size=1
    )
    for step in range(steps):
        replay.add(numbered([step, 10 + step]), np.array([True, True]))
    return replay


def test_the_newest_stay():
    replay = filled(steps=5)

    assert replay.last("cell_1", 10).reward.tolist() == [2, 3, 4]
    assert replay.last("cell_2", 2).reward.tolist() == [13, 14]


def test_an_absent_cell_stores_nothing():
    replay = filled()
    replay.add(numbered([1, 2]), np.array([False, True]))

    assert replay.size.tolist() == [0, 1]


def test_a_sample_is_of_ones_own():
    replay = filled(steps=3)
    sample = replay.sample(np.array([[0.0, 0.99], [0.5, 0.1]]))

    assert sample.reward.tolist() == [[0, 2], [11, 10]]
    assert sample.obs[0, 1].tolist() == [2, 2]


def test_seeding_a_cell_leaves_the_others_alone():
    replay = filled(steps=2)
    replay.seed("cell_1", numbered([7, 8]))

    assert replay.last("cell_1", 3).reward.tolist() == [1, 7, 8]
    assert replay.last("cell_2", 3).reward.tolist() == [10, 11]


def test_an_unknown_cell_is_named():
    with pytest.raises(KeyError, match="no cell 'cell_9'"):
        filled().last("cell_9", 1)


@given(st.integers(1, 5), st.integers(0, 12), st.integers(0, 12))
def test_a_ring_holds_what_a_list_would(capacity, first, second):
    replay = Replay(("cell_1",), 2, 1, capacity, reward_inputs_size=1, counterfactual_inputs_size=1)
    for number in range(first):
        replay.add(numbered([number]), np.array([True]))
    replay.seed("cell_1", numbered(100 + np.arange(second)))
    expected = [*range(first), *range(100, 100 + second)][-capacity:]

    assert replay.last("cell_1", 99).reward.tolist() == expected


def test_restored_it_is_the_same():
    replay = filled(steps=4)
    other = filled()
    other.restore(replay.state())
    for ring in (replay, other):
        ring.add(numbered([9, 9]), np.array([True, False]))

    assert other.last("cell_1", 3).reward.tolist() == replay.last("cell_1", 3).reward.tolist()
    assert other.last("cell_2", 3).reward.tolist() == [11, 12, 13]


def test_half_precision_takes_half_the_memory_and_gives_single_back():
    numbers = np.linspace(0, 1, 7, dtype=np.float32)
    single, half = (
        Replay(
            ("cell_1",),
            2,
            1,
            10,
            reward_inputs_size=1,
            counterfactual_inputs_size=1,
            precision=precision,
        )
        for precision in ("float32", "float16")
    )
    for replay in (single, half):
        replay.seed("cell_1", numbered(numbers))
    taken = half.last("cell_1", 7)

    assert half.state()["rows"].nbytes * 2 == single.state()["rows"].nbytes
    assert all(array.dtype == np.float32 for array in taken)
    assert half.sample(np.array([[0.5]])).obs.dtype == np.float32
    assert taken.reward == pytest.approx(numbers, rel=1e-3)
    assert taken.reward_inputs[:, 0] == pytest.approx(10 * numbers, rel=1e-3)
