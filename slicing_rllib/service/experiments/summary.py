"""What an experiment found, as plain numbers with intervals over seeds."""

# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from slicing_rllib.evaluation.statistics import (
    METRICS,
    gap_closed,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
    seed_interval,
)
from slicing_rllib.service.experiments.results import Results, gains, learning_gain, per_seed
from slicing_rllib.service.experiments.source_ranking import (
    group_aucs,
    measure_table,
    pair_distances,
    pair_gains,
    rotations,
)

SPAWN_REPORT = 6
"""Spawn key of a report's random stream."""


def summarised(results: Results, folder: Path) -> dict[str, Any]:
    """All that the report says, as plain numbers."""
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(SPAWN_REPORT,)))
    experiment = results.experiment
    told = experiment.model_dump(mode="json", exclude={"shows"}) | {"seeds": 0}
    plain = json.dumps(told, sort_keys=True)
    summary: dict[str, Any] = {
        "experiment": experiment.name,
        "seeds": int(results.final["seed"].nunique()),
        "experiment_sha256": hashlib.sha256(plain.encode()).hexdigest(),
        "policies": policies_of(results),
    }
    if experiment.reference is not None:
        summary["gains"] = {
            arm: _gains(results, arm, rng) for arm in experiment.arms if arm != experiment.reference
        }
    if len(rotations(results)) > 1:
        summary["measures"] = _measures(results, folder, rng)
    aucs = group_aucs(results, folder)
    if len(aucs):
        summary["auc"] = {
            measure: _mean_and_interval(mine["auc"].to_numpy(), rng)
            for measure, mine in aucs.groupby("measure")
        }
    if len(results.transfers):
        by_arm = results.transfers.groupby("arm")["harmful"]
        summary["alarms"] = {
            str(arm): {"warm_starts": int(harmful.size), "rolled_back": int(harmful.sum())}
            for arm, harmful in by_arm
        }
    return summary


def policies_of(results: Results) -> dict[str, Any]:
    """Every policy's row."""
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(SPAWN_REPORT,)))
    return {p: _policy(results, p, rng) for p in results.final["policy"].unique()}


def _policy(results: Results, policy: str, rng: np.random.Generator) -> dict[str, Any]:
    """Mean, interquartile mean and interval of each metric; difference to the reference."""
    table = per_seed(results.final, policy)
    row: dict[str, Any] = {"seeds": len(table), "ci95": {}, "iqm": {}}
    for place, metric in enumerate(METRICS):
        column = table[:, place]
        row[metric] = float(column.mean())
        row["iqm"][metric] = float(interquartile_mean(column))
        row["ci95"][metric] = seed_interval(np.mean, column, rng=rng)
    known = set(results.final["policy"])
    if {"equal", "oracle"} <= known:
        rewards = [per_seed(results.final, name)[:, 0] for name in (policy, "equal", "oracle")]
        row["oracle_gap_closed"] = float(gap_closed(*rewards))
        row["ci95"]["oracle_gap_closed"] = seed_interval(gap_closed, *rewards, rng=rng)
    against = {}
    others = [results.experiment.reference, "traffic_aware"]
    for other in dict.fromkeys(o for o in others if o in known and o != policy):
        theirs = per_seed(results.final, str(other))
        against[other] = {
            metric: _difference(table[:, place], theirs[:, place], rng)
            for place, metric in enumerate(METRICS)
        }
    return row | {"less": against}


def _difference(ours: np.ndarray, theirs: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    mean, interval = paired_difference(ours, theirs, rng)
    chance = probability_of_improvement(ours, theirs)
    return {"mean": mean, "ci95": interval, "share_of_seeds_above": chance}


def _gains(results: Results, arm: str, rng: np.random.Generator) -> dict[str, Any]:
    """At equal own steps: evaluated without noise, and while learning as the paper counts."""
    found: dict[str, Any] = {}
    for step in (0, *results.experiment.evaluation_steps):
        evaluated = gains(results, arm, step)
        entry: dict[str, Any] = {}
        if len(evaluated):
            by_seed = evaluated.groupby("seed")["gain"].mean().to_numpy()
            entry["evaluated"] = _mean_and_interval(by_seed, rng)
            entry["negative"] = float((evaluated["gain"] < 0).mean())
        learning = learning_gain(results, arm, step)
        if len(learning):
            entry["while_learning"] = _mean_and_interval(learning, rng)
        if entry:
            found[str(step)] = entry
    return found


def _measures(results: Results, folder: Path, rng: np.random.Generator) -> dict[str, Any]:
    """How well each measure rank_correlation gains, by own steps."""
    distances = pair_distances(folder)
    found: dict[str, Any] = {}
    for step in (0, *results.experiment.evaluation_steps):
        pairs = pair_gains(results, step)
        if not len(pairs):
            continue
        table = measure_table(pairs, distances)
        found[str(step)] = {
            str(measure): {
                column: _mean_and_interval(mine[column].to_numpy(), rng)
                for column in ("spearman", "regret", "gain", "negative")
            }
            for measure, mine in table.groupby("measure")
        }
    return found


def _mean_and_interval(values: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"mean": None, "ci95": None, "seeds": 0}
    interval = seed_interval(np.mean, finite, rng=rng)
    return {"mean": float(finite.mean()), "ci95": interval, "seeds": len(finite)}
