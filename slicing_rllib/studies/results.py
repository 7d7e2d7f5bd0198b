"""The results of an experiment as tidy tables, read from its run directories.

How much of what can be learned an arm has learned: its gain over the ceiling's gain.

What a start saves: the steps until a cell is served well, and the failures until then.

Steps are counted from a cell's first step, so those under the default action, in which a source is
chosen, count too.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from slicing_rllib.evaluation.statistics import METRICS, mean_interval
from slicing_rllib.learning.events import EventKind
from slicing_rllib.runs.run_config import TRAINED_POLICIES
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.storage.errors import RunError
from slicing_rllib.studies.experiment import get_arm_folder, is_done
from slicing_rllib.studies.experiment_config import (
    EXPERIMENTS,
    ExperimentConfig,
    read_saved_experiment,
)

# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false
# pyright: reportOperatorIssue=false


Rows = list[dict[str, Any]]


class Results(NamedTuple):
    """Tables of an experiment. `steps` are own steps: those under a cell's own policy, which follow
    `default_steps` under the default action."""

    experiment: ExperimentConfig
    final: pd.DataFrame
    """Columns seed, policy and METRICS: the final evaluation."""
    curves: pd.DataFrame
    """Columns seed, arm, steps, default_steps, cell, evaluated, fail_rate_95, baseline,
    baseline_fail_rate_95, base_policy: rewards without exploration noise, failures of all
    cells, both of the traffic-aware baseline, and rewards of the arm's base policy, all on the
    same traffic."""
    learning: pd.DataFrame
    """Columns seed, arm, steps, default_steps, reward, fail_rate_95: means over cells during
    training itself. Steps under the default action are there too, with `steps` of 0 and less."""
    transfers: pd.DataFrame
    """Columns seed, arm, target, source, distance, confidence, harmful: the first decisions."""

    @property
    def seeds(self) -> list[int]:
        """Seeds on which all arms are done."""
        return sorted(self.final["seed"].unique().tolist())


def read_results(folder: Path) -> Results:
    """The results of all seeds on which every arm is done. Raises: RunError where there is none."""
    if not (folder / "experiment.yaml").is_file():
        raise RunError(f"{folder}: expected an experiment, found no experiment.yaml")
    experiment = read_saved_experiment(folder)
    seeds = [
        seed
        for seed in range(experiment.seeds)
        if all(is_done(folder, seed, arm) for arm in experiment.arms)
    ]
    if not seeds:
        raise RunError(f"{folder}: no seed is complete yet")
    runs = [
        (seed, arm, RunDirectory(get_arm_folder(folder, seed, arm)))
        for seed in seeds
        for arm in experiment.arms
    ]
    frames = [
        pd.DataFrame([row for run in runs for row in read_rows(*run)])
        for read_rows in (_read_final, _read_curve, _read_learning, _read_transfers)
    ]
    return Results(experiment, *frames)


def select_metrics(final: pd.DataFrame, policy: str) -> np.ndarray:
    """METRICS of a policy, a row per seed in order."""
    rows = final[final["policy"] == policy].sort_values("seed")
    return rows[list(METRICS)].to_numpy()


def compute_gains(results: Results, arm: str, step: int) -> pd.DataFrame:
    """Columns seed, cell, gain: evaluated reward - that of the reference after equal own steps.

    At step 0, before any update, the reference counts with its first point: it has learned nothing
    until then.
    """
    key, curves = ["seed", "cell"], results.curves
    reference = curves[curves["arm"] == results.experiment.reference]
    reference_step = reference["steps"].min() if step == 0 else step
    ours = curves[(curves["arm"] == arm) & (curves["steps"] == step)]
    ours = ours.set_index(key)["evaluated"]
    theirs = reference[reference["steps"] == reference_step].set_index(key)["evaluated"]
    return (ours - theirs).dropna().rename("gain").reset_index()


def compute_baseline_gains(results: Results, arm: str, step: int) -> pd.DataFrame:
    """Differences after own steps, a row per seed.

    Columns reward and fail_rate_95: the arm − the traffic-aware baseline. Column over_base_policy:
    reward of the arm − that of its base policy.
    """
    curves = results.curves
    ours = curves[(curves["arm"] == arm) & (curves["steps"] == step)].groupby("seed")
    columns = ["evaluated", "baseline", "fail_rate_95", "baseline_fail_rate_95", "base_policy"]
    means = ours[columns].mean()
    return pd.DataFrame(
        {
            "reward": means["evaluated"] - means["baseline"],
            "fail_rate_95": means["fail_rate_95"] - means["baseline_fail_rate_95"],
            "over_base_policy": means["evaluated"] - means["base_policy"],
        }
    )


def compute_learning_service(results: Results, arm: str, last: int | None) -> pd.DataFrame:
    """Columns reward, fail_rate_95, a row per seed: service while an arm learns.

    It is that of the own steps up to `last`, or of all of them.
    """
    rows = results.learning[results.learning["arm"] == arm]
    rows = rows[rows["steps"] > 0]
    rows = rows if last is None else rows[rows["steps"] <= last]
    return rows.groupby("seed")[["reward", "fail_rate_95"]].mean()


def compute_learning_gains(results: Results, arm: str, step: int) -> np.ndarray:
    """Per seed, the reward of the iteration that ends at an own step - that of the reference."""
    own = results.learning[results.learning["steps"] > 0]
    rows = own[own["steps"] == step].set_index("seed")
    ours = rows[rows["arm"] == arm]["reward"]
    theirs = rows[rows["arm"] == results.experiment.reference]["reward"]
    return (ours - theirs).dropna().to_numpy()


def _read_final(seed: int, arm: str, run: RunDirectory) -> Rows:
    return [
        {"seed": seed, "policy": arm if name in TRAINED_POLICIES else name}
        | {metric: row[metric] for metric in METRICS}
        for name, row in run.summary()["policies"].items()
    ]


def _read_curve(seed: int, arm: str, run: RunDirectory) -> Rows:
    begin = _find_first_own_step(run)
    own = {"seed": seed, "arm": arm, "default_steps": begin}
    return [
        own
        | {
            "steps": row["env_steps"] - begin,
            "cell": cell,
            "evaluated": c["evaluation_reward"],
            "fail_rate_95": row.get("evaluation_fail_rate_95", math.nan),
            "baseline": row["references"].get("traffic_aware", math.nan),
            "baseline_fail_rate_95": row.get("references_fail_rate_95", {}).get(
                "traffic_aware", math.nan
            ),
            "base_policy": row["references"].get("base_policy", math.nan),
        }
        for row in run.metrics()
        for fail_rates in [row.get("references_fail_rate_95", {})]
        if "evaluation_reward_mean" in row and row["env_steps"] >= begin
        for cell, c in row["cells"].items()
    ]


def _read_learning(seed: int, arm: str, run: RunDirectory) -> Rows:
    begin = _find_first_own_step(run)
    own = {"seed": seed, "arm": arm, "default_steps": begin}
    return [
        own
        | {
            "steps": row["env_steps"] - begin,
            "reward": row["reward_mean"],
            "fail_rate_95": row.get("fail_rate_95", math.nan),
        }
        for row in run.metrics()
    ]


def _read_transfers(seed: int, arm: str, run: RunDirectory) -> Rows:
    found: dict[str, dict[str, Any]] = {}
    for event in run.events():
        cell, evidence = event["cell"], event["evidence"]
        if event["kind"] == EventKind.SOURCE_CHOSEN and cell not in found:
            found[cell] = {
                "seed": seed,
                "arm": arm,
                "target": cell,
                "source": str(evidence["source"]).removeprefix("library:"),
                "distance": evidence["distance"],
                "confidence": evidence["confidence"],
                "harmful": False,
            }
        if event["kind"] == EventKind.NEGATIVE_TRANSFER and cell in found:
            found[cell]["harmful"] = True
    return list(found.values())


def _find_first_own_step(run: RunDirectory) -> int:
    """The network step at which the cells' own policies took over."""
    return max((d.default_action_until for d in run.config().deployments), default=0)


CEILING_FILE = EXPERIMENTS / "results" / "ceiling-paper.jsonl"
"""Output of `slicing-rllib bench ceiling --json`, on the radio maps of seeds 0 to 9."""


def read_ceiling_gain(path: Path = CEILING_FILE) -> float | None:
    """Reward of the ceiling − that of the traffic-aware baseline; None without a file.

    Raises: RunError for a file without this number.
    """
    if not path.is_file():
        return None
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        row = next(row for row in rows if row["name"] == "ceiling.reward")
        return float(row["value"]) - float(row["reference_value"])
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise RunError(f"{path}: expected the rows of bench ceiling --json") from error


def summarise_learnable_gap(policies: Mapping[str, Any], ceiling_gain: float) -> dict[str, Any]:
    """By policy, the share of the way from traffic-aware to the ceiling, in mean reward.

    The interval is that of the policy's paired gain; the ceiling's gain counts as known.
    """
    closed = {}
    for name, row in policies.items():
        gain = row["less"].get("traffic_aware", {}).get("reward_mean")
        if gain is not None:
            interval = gain["ci95"]
            closed[name] = {
                "mean": gain["mean"] / ceiling_gain,
                "ci95": None if interval is None else [end / ceiling_gain for end in interval],
            }
    return {"ceiling_gain": ceiling_gain, "closed": closed}


# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportOperatorIssue=false


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
