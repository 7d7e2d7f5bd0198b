"""A run's figures, drawn from its files alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    delays = {
        name: c["delay_to_sla_max"][c["live"] > 0]
        for name, c in shown.items()
        if "delay_to_sla_max" in c  # Older evaluations have no such column.
    }
    drawn = {"satisfaction": figures.draw_satisfaction_ccdf(satisfied)}
    return drawn | ({"delay": figures.draw_delay_cdf(delays)} if delays else {})


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
    rows_with_steps = [row for row in rows if row["reward_mean"] is not None]
    return figures.draw_reward_curve(
        _collect_training_curve(rows_with_steps),
        evaluated,
        rows[-1]["references"],
        run.config().learning.exploration_steps,
    )


def _collect_training_curve(rows: Sequence[Mapping[str, Any]]) -> figures.TrainingCurve:
    """Running means over the iterations with a step."""
    env_steps = [row["env_steps"] for row in rows]
    known = [row.get("same_steps") or {} for row in rows]
    return figures.TrainingCurve(
        env_steps,
        _smooth(env_steps, [row["reward_mean"] for row in rows]),
        {
            name: _smooth(env_steps, [each.get(name, np.nan) for each in known])
            for name in (known[-1] if known else ())
        },
        SMOOTHING_STEPS,
    )


def _smooth(env_steps: Sequence[int], rewards: Sequence[float]) -> list[float]:
    """Running mean over the last SMOOTHING_STEPS steps, weighted by the steps of an iteration."""
    ends, values = np.array(env_steps), np.array(rewards, float)
    steps = np.diff(ends, prepend=0)
    return [
        float(np.average(values[inside], weights=steps[inside]))
        for now in env_steps
        for inside in [(ends > now - SMOOTHING_STEPS) & (ends <= now)]
    ]
