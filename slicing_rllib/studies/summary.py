"""The results of an experiment as plain numbers with intervals over seeds."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slicing_rllib.evaluation.statistics import (
    METRICS,
    compute_gap_closed,
    gap_interval,
    interquartile_mean,
    mean_interval,
    paired_difference,
    probability_of_improvement,
)
from slicing_rllib.runs.metrics_row import SPANS
from slicing_rllib.studies.experiment_config import ExperimentConfig
from slicing_rllib.studies.results import (
    Results,
    compute_baseline_gains,
    compute_gains,
    compute_learning_gains,
    compute_learning_service,
    read_ceiling_gain,
    select_metrics,
    summarise_learnable_gap,
    summarise_steps_saved,
)
from slicing_rllib.studies.source_ranking import (
    compute_group_aucs,
    compute_pair_distances,
    compute_pair_gains,
    rank_measures,
)

# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false


INTERVALS = "Student's t"
"""How intervals over seeds are computed, as a report names it."""


def summarise(results: Results, folder: Path) -> dict[str, Any]:
    """The content of an experiment's `summary.json`."""
    experiment = results.experiment
    summary: dict[str, Any] = {
        "experiment": experiment.name,
        "seeds": len(results.seeds),
        "intervals": INTERVALS,
        "experiment_sha256": _hash_experiment(experiment),
        "policies": summarise_policies(experiment, results.final),
    }
    ceiling_gain = read_ceiling_gain() if experiment.is_on_papers_network else None
    if ceiling_gain is not None:
        summary["learnable_gap"] = summarise_learnable_gap(summary["policies"], ceiling_gain)
    summary["baseline_gains"] = {
        arm: _summarise_baseline_gains(results, arm) for arm in experiment.arms
    }
    summary["while_learning"] = {
        arm: _summarise_learning_service(results, arm) for arm in experiment.arms
    }
    summary["steps_saved"] = summarise_steps_saved(results)
    if experiment.reference is not None:
        summary["gains"] = {
            arm: _summarise_gains(results, arm)
            for arm in experiment.arms
            if arm != experiment.reference
        }
    if len(experiment.rotations) > 1:
        summary["measures"] = _summarise_measures(results, folder)
    aucs = compute_group_aucs(results, folder)
    if len(aucs):
        summary["auc"] = {
            measure: _summarise_values(group["auc"].to_numpy())
            for measure, group in aucs.groupby("measure")
        }
    if len(results.transfers):
        by_arm = results.transfers.groupby("arm")["harmful"]
        summary["alarms"] = {
            str(arm): {"warm_starts": int(harmful.size), "rolled_back": int(harmful.sum())}
            for arm, harmful in by_arm
        }
    return summary


def summarise_policies(experiment: ExperimentConfig, final: pd.DataFrame) -> dict[str, Any]:
    """By policy, its metrics and its differences from the reference and the baseline."""
    return {
        policy: _summarise_policy(experiment, final, policy) for policy in final["policy"].unique()
    }


def _hash_experiment(experiment: ExperimentConfig) -> str:
    """Identifies what was trained, whatever the number of seeds and the way it is shown."""
    presentation = {"shows": True, "table_steps": True, "arms": {"__all__": {"kind", "scratch"}}}
    plain = experiment.model_dump(mode="json", exclude=presentation) | {"seeds": 0}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _summarise_policy(
    experiment: ExperimentConfig, final: pd.DataFrame, policy: str
) -> dict[str, Any]:
    """Mean, interquartile mean and interval of each metric, and paired differences."""
    table = select_metrics(final, policy)
    row: dict[str, Any] = {"seeds": len(table), "ci95": {}, "iqm": {}}
    for metric, column in zip(METRICS, table.T, strict=True):
        row[metric] = float(column.mean())
        row["iqm"][metric] = float(interquartile_mean(column))
        row["ci95"][metric] = mean_interval(column)
    known = set(final["policy"])
    if {"equal", "oracle"} <= known:
        rewards = [select_metrics(final, name)[:, 0] for name in (policy, "equal", "oracle")]
        row["oracle_gap_closed"] = compute_gap_closed(*rewards)
        row["ci95"]["oracle_gap_closed"] = gap_interval(*rewards)
    differences = {}
    others = dict.fromkeys([experiment.reference, "traffic_aware"])
    for other in [name for name in others if name in known and name != policy]:
        theirs = select_metrics(final, str(other))
        differences[other] = {
            metric: _compare_seeds(table[:, i], theirs[:, i]) for i, metric in enumerate(METRICS)
        }
    return row | {"less": differences}


def _compare_seeds(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    mean, interval = paired_difference(ours, theirs)
    share_above = probability_of_improvement(ours, theirs)
    return {"mean": mean, "ci95": interval, "share_of_seeds_above": share_above}


def _summarise_gains(results: Results, arm: str) -> dict[str, Any]:
    """By own step, the gain evaluated without noise, and while learning as the paper counts it."""
    found: dict[str, Any] = {}
    for step in results.experiment.shown_steps:
        evaluated = compute_gains(results, arm, step)
        entry: dict[str, Any] = {}
        if len(evaluated):
            by_seed = evaluated.groupby("seed")["gain"].mean().to_numpy()
            entry["evaluated"] = _summarise_values(by_seed)
            entry["negative"] = float((evaluated["gain"] < 0).mean())
        learning = compute_learning_gains(results, arm, step)
        if len(learning):
            entry["while_learning"] = _summarise_values(learning)
        if entry:
            found[str(step)] = entry
    return found


def _summarise_baseline_gains(results: Results, arm: str) -> dict[str, Any]:
    """By own step, reward and fail rate without noise − those of the traffic-aware baseline."""
    found: dict[str, Any] = {}
    for step in sorted(results.curves[results.curves["arm"] == arm]["steps"].unique()):
        gains = compute_baseline_gains(results, arm, step)
        found[str(int(step))] = {
            column: _summarise_values(gains[column].to_numpy(float)) for column in gains
        }
    return found


def _summarise_learning_service(results: Results, arm: str) -> dict[str, Any]:
    """Reward and fail rate of the network while the arm learns, over its first steps and all."""
    found: dict[str, Any] = {}
    for name, last in (*((str(span), span) for span in SPANS), ("all", None)):
        service = compute_learning_service(results, arm, last)
        found[name] = {
            column: _summarise_values(service[column].to_numpy(float)) for column in service
        }
    return found


def _summarise_measures(results: Results, folder: Path) -> dict[str, Any]:
    """By own step and measure, how well the measure predicts gains."""
    distances = compute_pair_distances(folder)
    found: dict[str, Any] = {}
    for step in results.experiment.shown_steps:
        pairs = compute_pair_gains(results, step)
        if not len(pairs):
            continue
        table = rank_measures(pairs, distances)
        found[str(step)] = {
            str(measure): {
                column: _summarise_values(group[column].to_numpy())
                for column in ("spearman", "regret", "gain", "over_random", "negative")
            }
            for measure, group in table.groupby("measure")
        }
    return found


def _summarise_values(values: np.ndarray) -> dict[str, Any]:
    """Mean and interval over seeds; None where no seed has a finite value."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"mean": None, "ci95": None, "seeds": 0}
    interval = mean_interval(finite)
    return {"mean": float(finite.mean()), "ci95": interval, "seeds": len(finite)}
