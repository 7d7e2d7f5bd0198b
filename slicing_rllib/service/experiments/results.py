"""What an experiment found, as tidy tables read from its run directories."""

# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from slicing_rllib.evaluation.statistics import METRICS
from slicing_rllib.service.errors import RunError
from slicing_rllib.service.experiments.config import ExperimentConfig
from slicing_rllib.service.experiments.runner import arm_folder
from slicing_rllib.service.runs.run_directory import RunDirectory


class Results(NamedTuple):
    """`steps` count from where a cell's own policy took over."""

    experiment: ExperimentConfig
    final: pd.DataFrame
    """seed, policy, then METRICS: the final evaluation."""
    curves: pd.DataFrame
    """seed, arm, steps, cell, evaluated: reward without noise."""
    learning: pd.DataFrame
    """seed, arm, steps, reward: mean over cells while learning, noise and all."""
    transfers: pd.DataFrame
    """seed, arm, target, source, distance, confidence, harmful."""


def read_results(folder: Path) -> Results:
    """Of the seeds that are complete. Raises: RunError where none is."""
    path = folder / "experiment.yaml"
    if not path.is_file():
        raise RunError(f"{folder}: expected an experiment, found no experiment.yaml")
    experiment = ExperimentConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    seeds = [seed for seed in range(experiment.seeds) if _complete(folder, experiment, seed)]
    if not seeds:
        raise RunError(f"{folder}: no seed is complete yet")
    runs = [
        (seed, arm, RunDirectory(arm_folder(folder, seed, arm)))
        for seed in seeds
        for arm in experiment.arms
    ]
    frames = [
        pd.DataFrame([row for run in runs for row in rows(*run)])
        for rows in (_final, _curve, _learning, _transfers)
    ]
    return Results(experiment, *frames)


def per_seed(final: pd.DataFrame, policy: str) -> np.ndarray:
    """METRICS of a policy, a row per seed in order."""
    mine = final[final["policy"] == policy].sort_values("seed")
    return mine[list(METRICS)].to_numpy()


def gains(results: Results, arm: str, step: int) -> pd.DataFrame:
    """Per seed and cell: evaluated reward over the reference's at the same own step.

    Before any update (step 0) the reference is what its first point shows: it has not learned yet.
    """
    key, curves = ["seed", "cell"], results.curves
    theirs = curves[curves["arm"] == results.experiment.reference]
    theirs_at = theirs["steps"].min() if step == 0 else step
    ours = curves[(curves["arm"] == arm) & (curves["steps"] == step)]
    ours = ours.set_index(key)["evaluated"]
    theirs = theirs[theirs["steps"] == theirs_at].set_index(key)["evaluated"]
    return (ours - theirs).dropna().rename("gain").reset_index()


def learning_gain(results: Results, arm: str, step: int) -> np.ndarray:
    """Per seed: reward while learning over the reference's in the iteration that ends there."""
    at = results.learning[results.learning["steps"] == step].set_index("seed")
    ours = at[at["arm"] == arm]["reward"]
    theirs = at[at["arm"] == results.experiment.reference]["reward"]
    return (ours - theirs).dropna().to_numpy()


def _complete(folder: Path, experiment: ExperimentConfig, seed: int) -> bool:
    return all(
        (arm_folder(folder, seed, arm) / "summary.json").is_file() for arm in experiment.arms
    )


def _final(seed: int, arm: str, run: RunDirectory) -> list[dict]:
    return [
        {"seed": seed, "policy": arm if name in ("drl", "tl") else name}
        | {metric: row[metric] for metric in METRICS}
        for name, row in run.summary()["policies"].items()
    ]


def _curve(seed: int, arm: str, run: RunDirectory) -> list[dict]:
    own = {"seed": seed, "arm": arm}
    begin = _begin(run)
    return [
        own | {"steps": row["env_steps"] - begin, "cell": cell, "evaluated": c["evaluation_reward"]}
        for row in run.metrics()
        if "evaluation_reward_mean" in row and row["env_steps"] >= begin
        for cell, c in row["cells"].items()
    ]


def _learning(seed: int, arm: str, run: RunDirectory) -> list[dict]:
    begin = _begin(run)
    return [
        {
            "seed": seed,
            "arm": arm,
            "steps": row["env_steps"] - begin,
            "reward": row["reward_mean"],
        }
        for row in run.metrics()
        if row["env_steps"] > begin
    ]


def _transfers(seed: int, arm: str, run: RunDirectory) -> list[dict]:
    found: dict[str, dict] = {}
    for event in run.events():
        cell, evidence = event["cell"], event["evidence"]
        if event["kind"] == "source_chosen" and cell not in found:
            found[cell] = {
                "seed": seed,
                "arm": arm,
                "target": cell,
                "source": str(evidence["source"]).removeprefix("library:"),
                "distance": evidence["distance"],
                "confidence": evidence["confidence"],
                "harmful": False,
            }
        if event["kind"] == "negative_transfer" and cell in found:
            found[cell]["harmful"] = True
    return list(found.values())


def _begin(run: RunDirectory) -> int:
    """The step at which cells' own policies took over."""
    return max((d.default_action_until for d in run.config().deployments), default=0)
