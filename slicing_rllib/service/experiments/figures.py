"""Figures of an experiment, from its run directories."""

# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from slicing_rllib.evaluation import experiment_figures, figures
from slicing_rllib.evaluation.experiment_figures import Band
from slicing_rllib.evaluation.statistics import mean_interval
from slicing_rllib.evaluation.transfer_statistics import rank_correlation
from slicing_rllib.service.config import TRAINED_POLICIES
from slicing_rllib.service.experiments.results import (
    Results,
    compute_baseline_gains,
    select_metrics,
)
from slicing_rllib.service.experiments.runner import get_arm_folder
from slicing_rllib.service.experiments.source_ranking import (
    compute_pair_distances,
    compute_pair_gains,
    list_source_choices,
)
from slicing_rllib.service.runs.cell_similarity import compare_cells, draw_comparison
from slicing_rllib.service.runs.evaluation import load_rollouts
from slicing_rllib.service.runs.run_directory import RunDirectory

DISTANCE_MEASURE = "mean_shift"
"""Measure of the figure of gain over distance."""
HEAT_MAP_MEASURES = ("kl_paper", "mean_shift")


def draw_experiment(results: Results, folder: Path, out: Path) -> list[Path]:
    """Draws all figures of a report as PNG and SVG into `out`; their paths."""
    experiment = results.experiment
    with_paper, titles = experiment.is_on_papers_network, experiment.titles
    # A dozen distributions in one figure cannot be told apart, so it shows the first two arms.
    satisfied, delays = _pool_rollouts(results, folder, list(experiment.arms)[:2])
    drawn = {
        "reward": draw_rewards(results),
        "satisfaction": experiment_figures.draw_satisfaction_ccdfs(
            satisfied, titles, with_paper=with_paper
        ),
        "delay": experiment_figures.draw_delay_cdfs(delays, titles, with_paper=with_paper),
    }
    gains = _compute_gain_bands(results)
    if gains:
        drawn["gain"] = experiment_figures.draw_gain_bands(gains, titles)
    if len(list_source_choices(experiment)) > 1:
        drawn["gain_over_distance"] = _draw_gain_over_distance(results, folder)
    paths = [path for name, each in drawn.items() for path in figures.save(each, out, name)]
    source_arm = RunDirectory(get_arm_folder(folder, 0, experiment.first))
    for measure in HEAT_MAP_MEASURES:
        paths += draw_comparison(source_arm, compare_cells(source_arm, measure), out)
    return paths


def draw_rewards(results: Results) -> Figure:
    """Learning curves of all arms; of several rotations only the first."""
    experiment = results.experiment
    arms = [arm for arm in experiment.arms if arm not in experiment.rotations[1:]]
    bands = {arm: _compute_band(results, arm) for arm in arms}
    baselines = [name for name in experiment.baselines if name != "equal"]
    levels = {name: float(select_metrics(results.final, name)[:, 0].mean()) for name in baselines}
    return experiment_figures.draw_reward_bands(bands, levels, experiment.titles)


def _compute_gain_bands(results: Results) -> dict[str, Band]:
    """By arm, the paired gain over the traffic-aware baseline; empty where that was not run."""
    bands: dict[str, Band] = {}
    for arm, rows in results.curves.groupby("arm", sort=False):
        steps, means, ends = [], [], []
        for step in sorted(rows["steps"].unique()):
            gains = compute_baseline_gains(results, str(arm), int(step))["reward"].to_numpy(float)
            mean = float(gains.mean())
            if np.isfinite(mean):
                steps.append(float(step))
                means.append(mean)
                ends.append(mean_interval(gains) or (mean, mean))
        if steps:
            bands[str(arm)] = Band(steps, means, *map(list, zip(*ends, strict=True)))
    return bands


def _draw_gain_over_distance(results: Results, folder: Path) -> Figure:
    distances = compute_pair_distances(folder)
    measured = distances[distances["measure"] == DISTANCE_MEASURE]
    gain_by_step, correlation = {}, {}
    distance = np.empty(0)
    for step in results.experiment.shown_steps:
        pairs = measured.merge(compute_pair_gains(results, step), on=["seed", "target", "source"])
        if not len(pairs):
            continue
        # How much a target can gain does not depend on its source, so its mean is subtracted.
        by_target = pairs.groupby(["seed", "target"])["gain"]
        pairs = pairs[by_target.transform("size").gt(1)]
        relative = pairs["gain"] - by_target.transform("mean").loc[pairs.index]
        distance = pairs["distance"].to_numpy()
        gain_by_step[step] = relative.to_numpy()
        correlation[step] = rank_correlation(distance, relative.to_numpy())
    return experiment_figures.draw_gain_over_distance(
        distance, gain_by_step, correlation, DISTANCE_MEASURE
    )


def _compute_band(results: Results, arm: str) -> Band:
    """The mean over cells of an arm's learning curve, with its interval over seeds."""
    curve = results.curves[results.curves["arm"] == arm]
    table = curve.groupby(["steps", "seed"])["evaluated"].mean().unstack()
    means = table.mean(axis=1).tolist()
    intervals = [
        mean_interval(row.dropna().to_numpy()) or (mean, mean)
        for (_, row), mean in zip(table.iterrows(), means, strict=True)
    ]
    low, high = zip(*intervals, strict=True)
    return Band([float(step) for step in table.index], means, low, high)


def _pool_rollouts(
    results: Results, folder: Path, arms: list[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """By policy, satisfaction and delay of every (seed, step, cell) of the final evaluations."""
    satisfied: dict[str, list[np.ndarray]] = {}
    delays: dict[str, list[np.ndarray]] = {}
    for seed in results.seeds:
        for arm in arms:
            table = load_rollouts(get_arm_folder(folder, seed, arm) / "evaluation.npz")
            for name, columns in table.items():
                label = arm if name in TRAINED_POLICIES else name
                satisfied.setdefault(label, []).append(columns["satisfaction"].ravel())
                delays.setdefault(label, []).append(columns["delay_max_ms"].ravel())
    return _concatenate(satisfied), _concatenate(delays)


def _concatenate(parts: dict[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}
