"""An experiment's scores in the forms that rliable and marl-eval read."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from slicing_rllib.storage import write_durably
from slicing_rllib.studies.results import Results

ENVIRONMENT = "slicing"
"""Name of the environment in files of marl-eval."""


def make_rliable_scores(results: Results) -> dict[str, list[list[float]]]:
    """By policy, a row per seed with its final reward: the scores (runs, tasks) of one task."""
    ordered = results.final.sort_values("seed")
    return {
        str(policy): [[float(reward)] for reward in rows["reward_mean"]]
        for policy, rows in ordered.groupby("policy", sort=False)
    }


def make_marl_eval_scores(results: Results) -> dict[str, Any]:
    """By environment, task, algorithm and seed: rewards over steps, and that of the end."""
    ends: dict[Any, float] = (
        results.final.set_index(["policy", "seed"])["reward_mean"].astype(float).to_dict()
    )
    curves = results.network_curves.reset_index().sort_values("step")
    found: dict[str, dict[str, Any]] = {}
    for (arm, seed), rows in curves.groupby(["arm", "seed"], sort=False):
        steps: dict[str, Any] = {
            f"step_{number}": _describe_point(row)
            for number, row in enumerate(rows.to_dict("records"))
        }
        steps["absolute_metrics"] = {"reward": [ends[arm, seed]]}
        found.setdefault(str(arm), {})[f"seed_{seed}"] = steps
    task = results.experiment.name
    return {ENVIRONMENT: {task: found}}


def _describe_point(row: dict[Any, Any]) -> dict[str, Any]:
    point: dict[str, Any] = {"step_count": int(row["step"]), "reward": [float(row["evaluated"])]}
    return point if pd.isna(row["cpu_s"]) else point | {"elapsed_time": float(row["cpu_s"])}


SCORES = {"rliable": make_rliable_scores, "marl-eval": make_marl_eval_scores}
"""By format, what makes the content of its file, `FORMAT.json`."""


def write_scores(results: Results, kind: str, folder: Path) -> Path:
    """Writes the scores in that form; the file."""
    path = folder / f"{kind}.json"
    write_durably(path, (json.dumps(SCORES[kind](results), indent=1) + "\n").encode())
    return path
