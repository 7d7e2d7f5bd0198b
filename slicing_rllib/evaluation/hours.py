"""Results by hour of the day, for traffic that has a clock."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from slicing_rllib.evaluation.rollout import Rollout
from slicing_rllib.evaluation.statistics import PolicySummary, summarise


class HourlyResults(NamedTuple):
    """Summaries of the policies in each hour of the day that was evaluated."""

    busy_hour: int
    """The hour with the most UEs that have traffic, 0 to 23."""
    by_hour: dict[int, dict[str, PolicySummary]]
    """By hour and policy, in the order of hours."""


def summarise_hours(rollouts: Mapping[str, Sequence[Rollout]]) -> HourlyResults | None:
    """Every policy's summary by hour of the day; None for traffic without a clock.

    `rollouts[name][i]` must be of the same seed for all policies, so that hours are the same.
    """
    runs = next(iter(rollouts.values()), ())
    if not runs or any((run.hour < 0).any() for run in runs):
        return None
    by_hour = {}
    for hour in sorted({int(hour) for run in runs for hour in run.hour}):
        chosen = {
            name: [select_steps(run, run.hour == hour) for run in each]
            for name, each in rollouts.items()
        }
        if all(run.live.any() for each in chosen.values() for run in each):
            by_hour[hour] = summarise(chosen)
    if not by_hour:
        return None
    load = {
        hour: float(np.mean(np.concatenate([run.active_ues[run.hour == hour] for run in runs])))
        for hour in by_hour
    }
    return HourlyResults(max(load, key=lambda hour: load[hour]), by_hour)


def select_steps(run: Rollout, chosen: Bool[np.ndarray, " step"]) -> Rollout:
    """The rollout's chosen steps."""
    return Rollout(*(column[chosen] for column in run))
