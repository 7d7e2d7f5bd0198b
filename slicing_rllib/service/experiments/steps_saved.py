"""What a start saves: the steps until a cell is served well, and the failures until then.

Steps are counted from a cell's first step, so those under the default action, in which a source is
chosen, count too.
"""

# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOperatorIssue=false

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from slicing_rllib.evaluation.statistics import mean_interval
from slicing_rllib.service.experiments.config import ExperimentConfig
from slicing_rllib.service.experiments.results import Results

FINAL_SHARE = 0.95
"""Share of what training from scratch gains that an arm must reach."""
SPANS = (1000, 4000)
"""First so many steps of a cell in which failures are counted. Whole periods of the traffic."""


def summarise_steps_saved(results: Results) -> dict[str, Any]:
    """By arm: steps until two levels of reward are reached, and steps lost below the SLA.

    `baseline` is the level of the traffic-aware baseline. `final` is what the arm from scratch has
    at its first evaluation, plus 95 % of what it gains from there to its last.
    """
    levels = {
        arm: _find_final_levels(results.curves, find_scratch_arm(results.experiment, arm))
        for arm in results.experiment.arms
    }
    return {
        arm: {
            "baseline": _summarise_steps(_find_steps(results.curves, arm, "baseline")),
            "final": _summarise_steps(_find_steps(results.curves, arm, levels[arm])),
            "lost": {str(span): _summarise_lost_steps(results, arm, span) for span in SPANS},
        }
        for arm in results.experiment.arms
    }


def find_scratch_arm(experiment: ExperimentConfig, arm: str) -> str:
    """The arm that trains the same kind of policy from scratch: the arm itself, if it does."""
    settings = experiment.arms[arm]
    if settings.learns_from is None:
        return arm
    if settings.scratch is not None:
        return settings.scratch
    if settings.learns_from in experiment.arms:
        return find_scratch_arm(experiment, settings.learns_from)
    return experiment.reference or experiment.first


def _find_final_levels(curves: pd.DataFrame, scratch: str) -> pd.Series:
    """By seed, the reward that counts as reached."""
    rows = curves[curves["arm"] == scratch].groupby(["seed", "steps"])["evaluated"].mean()
    by_seed = rows.sort_index().groupby("seed")
    return by_seed.first() + FINAL_SHARE * (by_seed.last() - by_seed.first())


def _find_steps(curves: pd.DataFrame, arm: str, level: pd.Series | str) -> list[float]:
    """Per seed, the steps until an evaluation first reaches a level; infinite if none does.

    `level` is a reward by seed, or the column that holds it.
    """
    steps = []
    means = curves[curves["arm"] == arm].groupby(["seed", "steps"], as_index=False).mean(True)
    for seed, rows in means.groupby("seed"):
        wanted = rows[level] if isinstance(level, str) else level.loc[seed]
        reached = rows[rows["evaluated"] >= wanted]
        since_first = reached["steps"] + reached["default_steps"]
        steps.append(float(since_first.min()) if len(reached) else math.inf)
    return steps


def _summarise_steps(steps: list[float]) -> dict[str, Any]:
    """The median over seeds, None where fewer than half of them reach the level."""
    median = float(np.median(steps)) if steps else math.inf
    return {
        "median": None if math.isinf(median) else median,
        "seeds": len(steps),
        "reached": int(np.isfinite(steps).sum()),
        "steps": [None if math.isinf(step) else step for step in steps],
    }


def _summarise_lost_steps(results: Results, arm: str, span: int) -> Mapping[str, Any] | None:
    """Steps per cell below 0.95 among a cell's first ones, beyond those of the baseline.

    None where the arm was trained for fewer steps.
    """
    rows = results.learning[results.learning["arm"] == arm]
    since_first = rows["steps"] + rows["default_steps"]
    if since_first.max() < span:
        return None
    inside = rows[since_first <= span].groupby("seed")
    curves = results.curves[results.curves["arm"] == arm].groupby("seed")
    baseline = curves["baseline_fail_rate_95"].mean()
    lost = span * (inside["fail_rate_95"].mean() - baseline)
    if not np.isfinite(lost).all():
        return None
    return {"mean": float(lost.mean()), "ci95": mean_interval(lost.to_numpy()), "seeds": len(lost)}
