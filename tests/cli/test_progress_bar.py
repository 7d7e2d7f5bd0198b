"""What a terminal shows while a run trains: means over the shown interval, and outages."""

import re
from typing import Any

import pytest

from slicing_rllib.cli import console as progress_bar
from slicing_rllib.cli.console import ProgressBar


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    shown: list[str] = []
    monkeypatch.setattr(progress_bar.err, "print", lambda text, **_: shown.append(text))
    return shown


def make_row(env_steps: int, reward: float | None, **more: Any) -> dict[str, Any]:
    same_steps = {} if reward is None else {"equal": reward - 0.1, "best_split": 0.9}
    return {
        "env_steps": env_steps,
        "steps": 0 if reward is None else 250,
        "time_s": env_steps / 100,
        "reward_mean": reward,
        "same_steps": same_steps,
        **more,
    }


def test_the_reward_is_the_mean_since_the_last_line_beside_the_same_steps(lines):
    """Two iterations of 250 steps at .6 and .8."""
    bar = ProgressBar()
    for env_steps, reward in ((250, 0.1), (500, 0.1), (750, 0.6), (1000, 0.8)):
        bar.on_iteration(make_row(env_steps, reward), 1000)
    assert lines[-1] == (
        "step 1000 of 1000  100 steps/s  reward 0.700 over 500 steps  "
        "(same steps: equal 0.600  best_split 0.900)"
    )


def test_a_point_of_the_learning_curve_stands_beside_baselines_on_its_traffic(lines):
    row = make_row(250, 0.5, evaluation_reward_mean=0.85, references={"equal": 0.6, "oracle": 0.95})
    ProgressBar().on_iteration(row, 1000)
    assert lines == [
        "step 250  evaluated without noise: 0.850  (same traffic: equal 0.600  oracle 0.950)"
    ]


def test_an_outage_shows_how_long_the_run_waits_and_not_a_reward_of_zero(lines):
    """A line every 20 s; an iteration without a step has no line."""
    bar = ProgressBar()
    for second in range(45):
        bar.on_iteration(make_row(500, None), 1000)
        bar.on_wait(float(second), 180.0)
    assert lines == [f"waiting for env runners, {second} s of 180" for second in (0, 20, 40)]


def test_warm_starts_and_guards_have_lines_and_the_start_has_none(lines):
    bar = ProgressBar()
    bar.on_event("started", None, "12 cells", 0)
    bar.on_event("guard_fell_back", "cell_12", "0.05 below its initial policy", 900)
    assert lines == ["step 900  guard fell back: cell_12: 0.05 below its initial policy"]


def test_a_run_that_is_trained_again_from_scratch_starts_a_new_mean(lines):
    bar = ProgressBar()
    for env_steps, reward in ((750, 0.1), (1000, 0.1), (750, 0.7), (1000, 0.7)):
        bar.on_iteration(make_row(env_steps, reward), 1000)
    assert re.search(r"reward 0\.700 over 500 steps", lines[-1])
