"""Pictures of an experiment, from its run directories."""

# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false

from pathlib import Path
from typing import Any

import numpy as np

from slicing_rllib.evaluation import experiment_figures, figures
from slicing_rllib.evaluation.experiment_figures import Band
from slicing_rllib.evaluation.statistics import seed_interval
from slicing_rllib.evaluation.transfer_statistics import rank_correlation
from slicing_rllib.service.experiments.results import Results, per_seed
from slicing_rllib.service.experiments.runner import arm_folder
from slicing_rllib.service.experiments.source_ranking import (
    pair_distances,
    pair_gains,
    rotations,
    source_choices,
)
from slicing_rllib.service.experiments.summary import SPAWN_REPORT
from slicing_rllib.service.runs.cell_similarity import compare_cells, draw_comparison
from slicing_rllib.service.runs.evaluation import load_rollouts
from slicing_rllib.service.runs.run_directory import RunDirectory


def draw_experiment(results: Results, folder: Path, where: Path) -> list[Path]:
    """All that a report shows, as PNG and SVG: the files."""
    titles, marked = results.experiment.titles, results.experiment.on_papers_network
    arms = [arm for arm in results.experiment.arms if arm not in rotations(results)[1:]]
    bands = {arm: _band(results, arm) for arm in arms}
    known = [name for name in results.experiment.baselines if name != "equal"]
    levels = {name: float(per_seed(results.final, name)[:, 0].mean()) for name in known}
    # A dozen distributions on top of each other show nothing: the first two arms speak for all.
    satisfied, delays = _pooled(results, folder, arms[:2])
    made = {
        "reward": experiment_figures.reward_bands(bands, levels, titles),
        "satisfaction": experiment_figures.satisfaction_ccdfs(satisfied, titles, marked=marked),
        "delay": experiment_figures.delay_cdfs(delays, titles, marked=marked),
    }
    if len(source_choices(results)) > 1:
        made["gain_over_distance"] = _fig_8(results, folder)
    drawn = [path for name, each in made.items() for path in figures.save(each, where, name)]
    source_arm = RunDirectory(arm_folder(folder, 0, results.experiment.first))
    for measure in ("kl_paper", "mean_shift"):
        drawn += draw_comparison(source_arm, compare_cells(source_arm, measure), where)
    return drawn


def _fig_8(results: Results, folder: Path) -> Any:
    measure = "mean_shift"
    distances = pair_distances(folder)
    mine = distances[distances["measure"] == measure]
    gain_by_step, correlation = {}, {}
    distance = np.empty(0)
    for step in (0, *results.experiment.evaluation_steps):
        joined = mine.merge(pair_gains(results, step), on=["seed", "target", "source"])
        if not len(joined):
            continue
        # A target's own level is not the source's doing.
        by_target = joined.groupby(["seed", "target"])["gain"]
        joined = joined[by_target.transform("size").gt(1)]
        relative = joined["gain"] - by_target.transform("mean").loc[joined.index]
        distance = joined["distance"].to_numpy()
        gain_by_step[step] = relative.to_numpy()
        correlation[step] = rank_correlation(distance, relative.to_numpy())
    return experiment_figures.gain_over_distance(distance, gain_by_step, correlation, measure)


def _band(results: Results, arm: str) -> Band:
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(SPAWN_REPORT, 1)))
    mine = results.curves[results.curves["arm"] == arm]
    table = mine.groupby(["steps", "seed"])["evaluated"].mean().unstack()
    means = table.mean(axis=1).tolist()
    intervals = [
        seed_interval(np.mean, row.dropna().to_numpy(), rng=rng) or (mean, mean)
        for (_, row), mean in zip(table.iterrows(), means, strict=True)
    ]
    low, high = zip(*intervals, strict=True)
    return Band([float(step) for step in table.index], means, low, high)


def _pooled(
    results: Results, folder: Path, arms: list[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Satisfaction and delay of every (seed, step, cell) of the final evaluations."""
    satisfied: dict[str, list[np.ndarray]] = {}
    delays: dict[str, list[np.ndarray]] = {}
    for seed in sorted(results.final["seed"].unique().tolist()):
        for arm in arms:
            table = load_rollouts(arm_folder(folder, seed, arm) / "evaluation.npz")
            for name, columns in table.items():
                label = arm if name in ("drl", "tl") else name
                satisfied.setdefault(label, []).append(columns["satisfaction"].ravel())
                delays.setdefault(label, []).append(columns["delay_max_ms"].ravel())
    pooled = [
        {name: np.concatenate(parts) for name, parts in kept.items()}
        for kept in (satisfied, delays)
    ]
    return pooled[0], pooled[1]
