"""A run's figures, drawn from its files alone."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from slicing_rllib.env import Deployment
from slicing_rllib.evaluation import figures
from slicing_rllib.evaluation.transfer_figures import warm_start_curves
from slicing_rllib.service.errors import RunError
from slicing_rllib.service.runs.cell_similarity import compare_cells, draw_comparison
from slicing_rllib.service.runs.evaluation import load_rollouts
from slicing_rllib.service.runs.no_transfer_branch import forks, scratch_run
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.transfer import MEASURES

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
    drawn |= _warm_starts(run)
    if run.config().transfers:
        compared = compare_cells(run, _drawable(run.config().transfer.measure))
        draw_comparison(run, compared, folder)
    return [
        path
        for name, figure in drawn.items()
        for path in figures.save(figure, folder or run.figures, name)
    ]


def _warm_starts(run: RunDirectory) -> dict[str, Figure]:
    """A picture per cell that came up during the run."""
    config = run.config()
    ways = {config.own_policy: run}
    if forks(config):
        ways["drl"] = scratch_run(run)
    return {
        f"warm_start-{deployment.cell}": warm_start_curves(
            deployment.cell,
            {name: _evaluated(way, deployment) for name, way in ways.items()},
            deployment.off_until,
            deployment.default_action_until,
        )
        for deployment in config.env.deployments
        if deployment.off_until > 0
    }


def _evaluated(run: RunDirectory, deployment: Deployment) -> tuple[list[float], list[float]]:
    """Steps and rewards without exploration noise since the cell's policy took over."""
    cell = deployment.cell
    points = [
        (row["env_steps"], row["cells"][cell]["evaluation_reward"])
        for row in run.metrics()
        if "evaluation_reward" in row["cells"][cell]
        and row["env_steps"] >= deployment.default_action_until
    ]
    return [step for step, _ in points], [reward for _, reward in points]


def _drawable(measure: str) -> str:
    return measure if measure in MEASURES else "mean_shift"


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
