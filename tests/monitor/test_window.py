"""Means over the newest steps of a run, and the cells that keep missing their SLA."""

import pytest

from slicing_rllib.monitor.history import History, Window, compute_window


def _make_history(*rows: tuple[int, dict[str, dict]]) -> History:
    """Each row: the steps of its iteration, and its cells."""
    history, env_steps = History(), 0
    for iteration, (steps, cells) in enumerate(rows, start=1):
        env_steps += steps
        history.add_row(
            {"iteration": iteration, "env_steps": env_steps, "steps": steps, "cells": cells}
        )
    return history


def _make_cell(reward: float = 1.0, fail_rate: float = 0.0, phase: str = "controlled") -> dict:
    return {
        "reward": reward, "satisfaction": reward, "fail_rate_95": fail_rate, "phase": phase,
    }  # fmt: skip


def test_an_iteration_counts_as_often_as_it_has_steps():
    """Rewards .2 over 30 steps and .6 over 10 steps: (6 + 6) / 40 = .3."""
    history = _make_history((30, {"a": _make_cell(0.2)}), (10, {"a": _make_cell(0.6)}))
    window = compute_window(history, Window(400), exploration_steps=0)

    assert window["reward_mean"] == pytest.approx(0.3)
    assert window["cells"]["reward"] == [pytest.approx(0.3)]
    assert (window["first_step"], window["last_step"]) == (0, 40)


def test_iterations_before_the_window_do_not_count():
    """Windows of 10 steps that end at step 40 and at step 30."""
    history = _make_history((30, {"a": _make_cell(0.2)}), (10, {"a": _make_cell(0.6)}))

    assert compute_window(history, Window(10), 0)["reward_mean"] == pytest.approx(0.6)
    assert compute_window(history, Window(10, until=39), 0)["reward_mean"] == pytest.approx(0.2)
    assert compute_window(history, Window(10, until=5), 0)["reward_mean"] is None


def test_a_cell_counts_only_the_steps_in_which_it_was_on_the_air():
    """It was off for 30 steps and then missed its SLA in 60 % of 10 steps."""
    history = _make_history((30, {"a": {"phase": "off"}}), (10, {"a": _make_cell(fail_rate=0.6)}))

    assert compute_window(history, Window(400), 0)["cells"]["fail_rate_95"] == [pytest.approx(0.6)]


def test_a_cell_that_misses_in_a_third_of_the_steps_is_missing_and_one_bad_iteration_is_not():
    """Over 40 steps, a misses in 75 %, b in 25 %; c does under the default action."""
    bad, good = _make_cell(fail_rate=1.0), _make_cell()
    default = _make_cell(fail_rate=1.0, phase="default")
    history = _make_history(
        (10, {"a": good, "b": good, "c": default}),
        (20, {"a": bad, "b": good, "c": default}),
        (10, {"a": bad, "b": bad, "c": default}),
    )

    assert compute_window(history, Window(400), 0)["missing"] == ["a"]


def test_exploration_raises_no_warning():
    """The window begins at step 0, exploration ends at step 20."""
    history = _make_history((40, {"a": _make_cell(fail_rate=1.0)}))
    window = compute_window(history, Window(400), exploration_steps=20)

    assert window["is_exploring"]
    assert window["missing"] == []
    assert compute_window(history, Window(400), exploration_steps=0)["missing"] == ["a"]


def test_a_cell_that_still_explores_raises_no_warning():
    """A cell that joined later explores on its own while the others have learned."""
    exploring = _make_cell(fail_rate=1.0) | {"exploring": True}
    history = _make_history(
        (10, {"a": exploring, "b": exploring}), (10, {"a": exploring, "b": _make_cell()})
    )

    assert compute_window(history, Window(400), 0)["missing"] == []


def test_a_cell_that_joins_within_the_window():
    history = _make_history(
        (10, {"a": _make_cell()}), (10, {"a": _make_cell(), "b": _make_cell(fail_rate=1.0)})
    )

    assert compute_window(history, Window(400), 0)["missing"] == ["b"]
    assert compute_window(history, Window(400, until=10), 0)["missing"] == []


def test_other_splits_are_averaged_where_every_iteration_of_the_window_has_them():
    history = History()
    for step, same_steps in ((10, {"equal": 0.2}), (20, {"equal": 0.4, "best_split": 0.9})):
        history.add_row({"env_steps": step, "steps": 10, "cells": {}, "same_steps": same_steps})

    assert compute_window(history, Window(400), 0)["same_steps"] == {"equal": pytest.approx(0.3)}


def test_a_run_without_rows_has_no_means():
    assert compute_window(History(), Window(400), 0)["reward_mean"] is None


def test_moved_prbs_are_half_the_sum_of_changes():
    """Shares (.5, .5) and then (.7, .3): a fifth of the PRBs has moved."""
    history = _make_history(
        (10, {"a": {"prb_ratio": [0.5, 0.5]}}), (10, {"a": {"prb_ratio": [0.7, 0.3]}})
    )

    assert [point.progress["prbs_moved"] for point in history.points] == [
        None,
        pytest.approx(0.2),
    ]
