"""A run's figures, drawn from its files alone."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from slicing_rllib.env import Deployment
from slicing_rllib.evaluation import figures
from slicing_rllib.evaluation.transfer_figures import draw_warm_start_curves
from slicing_rllib.service.config import PolicyName, has_branch
from slicing_rllib.service.errors import RunError
from slicing_rllib.service.runs.cell_similarity import compare_cells, draw_comparison
from slicing_rllib.service.runs.evaluation import load_rollouts
from slicing_rllib.service.runs.no_transfer_branch import get_branch
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.transfer import MEASURES

SMOOTHING_STEPS = 400
"""Window, in network steps, of the running mean over rewards: whole periods of the traffic."""
SHOWN = ("equal", "traffic_aware", "persistence", "oracle", PolicyName.DRL, PolicyName.TL)
"""Policies in the figures. Tables have all of them."""


def draw_run(run: RunDirectory, folder: Path | None = None) -> list[Path]:
    """Reward over training, satisfaction and delay of the final evaluation, as PNG and SVG.

    Where the run has a transfer, also the warm starts and the similarity of its cells.
    Raises: RunError where the run has no evaluation yet.
    """
    drawn = {"reward": _draw_reward_curve(run)} | _draw_evaluation(run) | _draw_warm_starts(run)
    config = run.config()
    if config.has_transfer:
        measure = config.transfer.measure
        compared = compare_cells(run, measure if measure in MEASURES else "mean_shift")
        draw_comparison(run, compared, folder)
    return [
        path
        for name, figure in drawn.items()
        for path in figures.save(figure, folder or run.figures, name)
    ]


def _draw_evaluation(run: RunDirectory) -> dict[str, Figure]:
    path = run.path / "evaluation.npz"
    try:
        table = load_rollouts(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: expected the evaluation of a finished run ({error})") from error
    shown = {name: table[name] for name in SHOWN if name in table}
    satisfied = {name: c["satisfaction"][c["live"] > 0] for name, c in shown.items()}
    delays = {name: c["delay_max_ms"][c["live"] > 0] for name, c in shown.items()}
    return {
        "satisfaction": figures.draw_satisfaction_ccdf(satisfied),
        "delay": figures.draw_delay_cdf(delays),
    }


def _draw_warm_starts(run: RunDirectory) -> dict[str, Figure]:
    """A figure for each cell that joined during the run."""
    config = run.config()
    runs = {config.own_policy: run}
    if has_branch(config):
        runs[PolicyName.DRL] = get_branch(run)
    return {
        f"warm_start-{deployment.cell}": draw_warm_start_curves(
            deployment.cell,
            {name: _read_evaluated_rewards(each, deployment) for name, each in runs.items()},
            deployment.off_until,
            deployment.default_action_until,
        )
        for deployment in config.env.deployments
        if deployment.off_until > 0
    }


def _read_evaluated_rewards(
    run: RunDirectory, deployment: Deployment
) -> tuple[list[float], list[float]]:
    """Steps and rewards without exploration noise since the cell's policy took over."""
    cell = deployment.cell
    points = [
        (row["env_steps"], row["cells"][cell]["evaluation_reward"])
        for row in run.metrics()
        if "evaluation_reward" in row["cells"][cell]
        and row["env_steps"] >= deployment.default_action_until
    ]
    return [step for step, _ in points], [reward for _, reward in points]


def _draw_reward_curve(run: RunDirectory) -> Figure:
    rows = run.metrics()
    if not rows:
        raise RunError(f"{run.path}: expected metrics.jsonl with at least one row")
    evaluated = [
        (row["env_steps"], row["evaluation_reward_mean"])
        for row in rows
        if "evaluation_reward_mean" in row
    ]
    env_steps = [row["env_steps"] for row in rows]
    return figures.draw_reward_curve(
        env_steps,
        _smooth(env_steps, [row["reward_mean"] for row in rows]),
        evaluated,
        rows[-1]["references"],
        run.config().learning.exploration_steps,
    )


def _smooth(env_steps: list[int], rewards: list[float]) -> list[float]:
    """Running mean over the last SMOOTHING_STEPS steps."""
    pairs = list(zip(env_steps, rewards, strict=True))
    return [
        float(np.mean([reward for step, reward in pairs if now - SMOOTHING_STEPS < step <= now]))
        for now in env_steps
    ]
