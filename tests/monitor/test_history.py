"""Rows of metrics.jsonl as arrays, whose memory is bounded whatever a run writes."""

import pytest

from slicing_rllib.monitor import history as history_module
from slicing_rllib.monitor.history import History


def _make_row(iteration: int, **cells: dict) -> dict:
    return {"iteration": iteration, "env_steps": 10 * iteration, "cells": cells}


def test_a_series_has_one_value_per_iteration():
    """Two iterations, rewards .5 and .7."""
    history = History()
    history.add_row(_make_row(1, cell_1={"reward": 0.5}))
    history.add_row(_make_row(2, cell_1={"reward": 0.7}))

    assert history.read_series("reward", 0) == [0.5, 0.7]


def test_a_cell_that_joins_later_has_no_values_before():
    history = History()
    history.add_row(_make_row(1, cell_1={"reward": 0.5}))
    history.add_row(_make_row(2, cell_1={"reward": 0.5}, cell_2={"reward": 0.6}))

    assert history.read_series("reward", 1) == [None, 0.6]


def test_progress_has_means_over_the_cells_on_the_air():
    """Satisfactions 1, .94 and none: the share of steps below .95 of the two cells is a half."""
    history = History()
    history.add_row(
        _make_row(1, a={"satisfaction": 1.0}, b={"satisfaction": 0.94}, c={"phase": "off"})
    )
    progress = history.points[0].progress

    assert (progress["fail_rate_95"], progress["cells_live"]) == (0.5, 2)
    assert progress["satisfaction_mean"] == pytest.approx(0.97)


def test_a_phase_is_read_as_a_name_or_a_number():
    history = History()
    history.add_row(_make_row(1, a={"phase": "controlled"}, b={"phase": 1}, c={"phase": "OFF"}))

    assert history.read_latest("phase") == [2, 1, 0]


@pytest.mark.parametrize("value", ["x", None, [], {}, True, float("inf"), 10**400])
def test_a_value_that_is_no_finite_number_is_none(value: object):
    history = History()
    history.add_row(
        _make_row(1, cell_1={"reward": value, "load": value, "throughput_mbps": [value, 2.0]})
    )

    assert history.read_latest("reward") == [None]
    assert history.read_latest("throughput_mbps/1") == [2.0]


def test_old_iterations_are_dropped_and_the_first_and_newest_stay(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history_module, "MAX_POINTS", 16)
    history = History()
    for iteration in range(1, 1001):
        history.add_row(_make_row(iteration, cell_1={"reward": 0.0}))
    kept = [point.progress["iteration"] for point in history.points]

    assert len(kept) <= 16
    assert (kept[0], kept[-1]) == (1, 1000)
    assert kept == sorted(kept)


def test_fewer_iterations_of_many_cells_are_kept(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history_module, "MAX_NUMBERS", 6_000)
    history = History()
    for iteration in range(100):
        history.add_row(_make_row(iteration, **{f"cell_{k}": {"reward": 0.5} for k in range(100)}))

    assert sum(point.frame.size for point in history.points) <= 6_000
