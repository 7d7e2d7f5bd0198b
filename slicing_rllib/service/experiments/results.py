"""The results of an experiment as tidy tables, read from its run directories."""

# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false
# pyright: reportOperatorIssue=false

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from slicing_rllib.evaluation.statistics import METRICS
from slicing_rllib.service.config import TRAINED_POLICIES
from slicing_rllib.service.errors import RunError
from slicing_rllib.service.experiments.config import ExperimentConfig, read_saved_experiment
from slicing_rllib.service.experiments.runner import get_arm_folder, is_done
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.transfer.events import EventKind as TransferEventKind

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
        if event["kind"] == TransferEventKind.SOURCE_CHOSEN and cell not in found:
            found[cell] = {
                "seed": seed,
                "arm": arm,
                "target": cell,
                "source": str(evidence["source"]).removeprefix("library:"),
                "distance": evidence["distance"],
                "confidence": evidence["confidence"],
                "harmful": False,
            }
        if event["kind"] == TransferEventKind.NEGATIVE_TRANSFER and cell in found:
            found[cell]["harmful"] = True
    return list(found.values())


def _find_first_own_step(run: RunDirectory) -> int:
    """The network step at which the cells' own policies took over."""
    return max((d.default_action_until for d in run.config().deployments), default=0)
