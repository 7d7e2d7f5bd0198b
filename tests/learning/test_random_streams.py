"""Random numbers that depend on nothing but seed, cell, purpose and step."""

import numpy as np
import pytest

from slicing_rllib.random_streams import (
    BLOCK_STEPS,
    CellStreams,
    Purpose,
    draw_normal,
    draw_simplex,
)


def stream(cells=("cell_1", "cell_2"), seed=1, purpose=Purpose.NOISE):
    return CellStreams(seed, purpose, cells, (3,), draw_normal)


def test_steps_may_be_asked_for_in_any_order():
    first, second = stream(), stream()
    late = first.at(BLOCK_STEPS + 5).copy()
    second.at(0)

    assert np.array_equal(second.at(BLOCK_STEPS + 5), late)


def test_another_cell_shifts_nobodys_numbers():
    assert np.array_equal(stream().at(7)[1], stream(("cell_2", "cell_3")).at(7)[0])


@pytest.mark.parametrize("other", [stream(seed=2), stream(purpose=Purpose.BATCH)])
def test_seeds_and_purposes_differ(other):
    assert not np.array_equal(stream().at(0), other.at(0))


def test_random_splits_lie_on_the_simplex():
    drawn = CellStreams(1, Purpose.EXPLORE, ("cell_1",), (4,), draw_simplex).at(0)

    assert drawn.sum() == pytest.approx(1.0, abs=1e-6)
    assert drawn.dtype == np.float32
