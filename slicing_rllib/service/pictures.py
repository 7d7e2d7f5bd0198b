"""A run's figures, drawn from its files alone."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from slicing_rllib.evaluation import figures
from slicing_rllib.service.evaluating import load_rollouts
from slicing_rllib.service.run_directory import RunDirectory, RunError

SMOOTHED_STEPS = 400
"""Rewards while learning are means over so many steps: whole periods of the day's wave."""
SHOWN = ("equal", "traffic_aware", "persistence", "oracle", "drl", "tl")
"""Policies in the pictures; tables have all of them."""


def draw_run(run: RunDirectory, folder: Path | None = None) -> list[Path]:
    """Reward over training, satisfaction and delay of the final evaluation, as PNG and SVG.

    Raises: RunError where the run has no evaluation yet.
    """
    path = run.path / "evaluation.npz"
    try:
        table = load_rollouts(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: expected the evaluation of a finished run ({error})") from error
    kept = {name: table[name] for name in SHOWN if name in table}
    satisfied = {
        name: columns["satisfaction"][columns["live"] > 0] for name, columns in kept.items()
    }
    delays = {name: columns["delay_max_ms"][columns["live"] > 0] for name, columns in kept.items()}
    drawn = {
        "reward": _reward_curve(run),
        "satisfaction": figures.satisfaction_ccdf(satisfied),
        "delay": figures.delay_cdf(delays),
    }
    return [
        path
        for name, figure in drawn.items()
        for path in figures.save(figure, folder or run.figures, name)
    ]


def _reward_curve(run: RunDirectory) -> Figure:
    rows = run.metrics()
    if not rows:
        raise RunError(f"{run.path}: expected metrics.jsonl with at least one row")
    evaluated = [
        (row["env_steps"], row["evaluation_reward_mean"])
        for row in rows
        if "evaluation_reward_mean" in row
    ]
    return figures.reward_curve(
        [row["env_steps"] for row in rows],
        _smoothed([row["env_steps"] for row in rows], [row["reward_mean"] for row in rows]),
        evaluated,
        rows[-1]["references"],
        run.config().learning.exploration_steps,
    )


def _smoothed(env_steps: list[int], rewards: list[float]) -> list[float]:
    """Running mean over the last SMOOTHED_STEPS steps."""
    pairs = list(zip(env_steps, rewards, strict=True))
    return [
        float(np.mean([reward for step, reward in pairs if now - SMOOTHED_STEPS < step <= now]))
        for now in env_steps
    ]
