"""Results by hour of the day."""

from dataclasses import replace

import numpy as np
import pytest

from slicing_rllib.env import SlicingEnv
from slicing_rllib.evaluation import Rollout, rollout
from slicing_rllib.evaluation.statistics import summarise_hours
from slicing_rllib.radio import TraceMask, make_scenario


def _make_run(hours: list[int], rewards: list[float], ues: list[float]):
    """One cell on the air, and a step per entry."""
    column = np.array(rewards)[:, None]
    slices = np.zeros((len(hours), 1, 1))
    return Rollout(
        column, column, column, column, np.ones_like(column, bool), slices, slices, slices,
        np.array(ues), np.array(hours),
    )  # fmt: skip


def test_each_hour_has_the_mean_of_its_steps_and_the_busy_hour_has_most_ues():
    """Hour 8 has .4 and .6 with 10 and 20 UEs, hour 9 has .9 with 12: .5, .9, busy at 8."""
    hours = summarise_hours({"drl": [_make_run([8, 9, 8], [0.4, 0.9, 0.6], [10, 12, 20])]})

    assert hours is not None
    assert hours.busy_hour == 8
    assert {hour: row["drl"].reward_mean for hour, row in hours.by_hour.items()} == {
        8: pytest.approx(0.5),
        9: pytest.approx(0.9),
    }


def test_traffic_without_a_clock_has_no_hours():
    assert summarise_hours({"drl": [_make_run([-1, -1], [0.4, 0.9], [1, 1])]}) is None
    assert summarise_hours({}) is None


def test_a_rollout_knows_the_hour_of_each_step(tmp_path):
    """Half-hourly rows from 23:00 on; a reset plays the first: 23, 0, 0, and 23 again."""
    scenario = make_scenario("paper")
    times = ("23:00", "23:30", "00:00", "00:30")
    lines = [
        f"2024-01-0{1 + (time < '12')} {time},{slice_name},0.5"
        for time in times
        for slice_name in [spec.name for spec in scenario.slices]
    ]
    path = tmp_path / "day.csv"
    path.write_text("time,slice,value\n" + "\n".join(lines) + "\n")
    mask = TraceMask(path=str(path), timezone="UTC", speed=1800.0)
    env = SlicingEnv(scenario=replace(scenario, mask=mask))
    run = rollout(env, _EqualShares(), 4, seed=1)

    assert run.hour.tolist() == [23, 0, 0, 23]
    assert (run.active_ues > 0).all()


class _EqualShares:
    def prb_ratio(self, view):
        return np.full((len(view.obs), 4), 0.25)
