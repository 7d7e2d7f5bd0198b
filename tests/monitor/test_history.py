"""Rows of metrics.jsonl become columns; memory stays bounded whatever a run writes."""

import pytest

from slicing_rllib.monitor import history
from slicing_rllib.monitor.history import History


def _row(iteration: int, **cells: dict) -> dict:
    return {"iteration": iteration, "env_steps": 10 * iteration, "cells": cells}


def test_a_column_is_a_cells_value_over_the_iterations():
    """Two iterations, rewards .5 and .7."""
    rows = History()
    rows.add(_row(1, cell_1={"reward": 0.5}))
    rows.add(_row(2, cell_1={"reward": 0.7}))

    assert rows.column("reward", 0) == [0.5, 0.7]


def test_a_cell_that_comes_up_later_has_nothing_before():
    rows = History()
    rows.add(_row(1, cell_1={"reward": 0.5}))
    rows.add(_row(2, cell_1={"reward": 0.5}, cell_2={"reward": 0.6}))

    assert rows.column("reward", 1) == [None, 0.6]


def test_progress_says_how_many_cells_miss_their_sla():
    """Satisfactions 1, .94 and none: one of two live cells is below .95."""
    rows = History()
    rows.add(_row(1, a={"satisfaction": 1.0}, b={"satisfaction": 0.94}, c={"phase": "off"}))
    progress = rows.points[0].progress

    assert (progress["cells_below"], progress["cells_live"]) == (1, 2)
    assert progress["satisfaction_mean"] == pytest.approx(0.97)


def test_phases_are_known_by_name_and_by_number():
    rows = History()
    rows.add(_row(1, a={"phase": "controlled"}, b={"phase": 1}, c={"phase": "OFF"}))

    assert rows.latest("phase") == [2, 1, 0]


@pytest.mark.parametrize("value", ["x", None, [], {}, True, float("inf"), 10**400])
def test_what_is_no_number_is_nothing(value: object):
    rows = History()
    rows.add(_row(1, cell_1={"reward": value, "load": value, "throughput_mbps": [value, 2.0]}))

    assert rows.latest("reward") == [None]
    assert rows.latest("throughput_mbps/1") == [2.0]


def test_old_iterations_thin_out_and_the_newest_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history, "MAX_POINTS", 16)
    rows = History()
    for iteration in range(1, 1001):
        rows.add(_row(iteration, cell_1={"reward": 0.0}))
    kept = [point.progress["iteration"] for point in rows.points]

    assert len(kept) <= 16
    assert (kept[0], kept[-1]) == (1, 1000)
    assert kept == sorted(kept)


def test_many_cells_keep_fewer_iterations(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history, "MAX_NUMBERS", 6_000)
    rows = History()
    for iteration in range(100):
        rows.add(_row(iteration, **{f"cell_{k}": {"reward": 0.5} for k in range(100)}))

    assert sum(point.frame.size for point in rows.points) <= 6_000
