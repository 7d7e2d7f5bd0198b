"""An experiment's report: a Markdown page, tables, figures, and the headline for another page.

Figures of an experiment, from its run directories.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.table import Table

from slicing_rllib.evaluation import experiment_figures, figures
from slicing_rllib.evaluation.experiment_figures import Band
from slicing_rllib.evaluation.statistics import mean_interval, rank_correlation
from slicing_rllib.runs.policy_evaluation import load_rollouts
from slicing_rllib.runs.run_config import TRAINED_POLICIES
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.run_report import compare_cells, draw_comparison
from slicing_rllib.storage import write_durably
from slicing_rllib.storage.errors import RunError
from slicing_rllib.studies.experiment import get_arm_folder
from slicing_rllib.studies.experiment_config import ExperimentConfig, read_saved_experiment
from slicing_rllib.studies.results import (
    Results,
    compute_baseline_gains,
    read_results,
    select_metrics,
)
from slicing_rllib.studies.source_ranking import (
    compute_pair_distances,
    compute_pair_gains,
    list_source_choices,
)
from slicing_rllib.studies.study_tables import (
    GAINS,
    format_auc_table,
    format_baseline_gain_table,
    format_difference_table,
    format_final_table,
    format_gain_tables,
    format_learnable_gap_table,
    format_learning_service_table,
    format_measure_tables,
    format_steps_saved_table,
    make_terminal_table,
)
from slicing_rllib.studies.summary import INTERVALS, summarise, summarise_policies

# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false


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


# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false


HEADLINE_STEPS = ("0", "200")
"""Own steps after which a headline compares measures."""
BASELINE_GAINS = {
    "reward": "Reward − that of the traffic-aware baseline",
    "fail_rate_95": "Share below 0.95 − that of the traffic-aware baseline",
    "over_base_policy": "Reward − that of the base policy that the actor corrects",
}
"""Columns of the tables of differences, and their titles."""

STEPS_SAVED = (
    "Steps of a cell, from its first step, default action included: the median until an evaluation "
    "reaches the traffic-aware baseline, and 95 % of what training from scratch gains in the end "
    "(in brackets the seeds that reach it); and steps per cell below 0.95 beyond those of the "
    "traffic-aware baseline:"
)
"""What the table of steps saved shows."""

CURVE_COLUMNS = [
    "default_steps",
    "evaluated",
    "fail_rate_95",
    "baseline",
    "baseline_fail_rate_95",
    "base_policy",
]
"""Columns of `curves.csv` beside seed, arm and steps."""


class ExperimentReport(NamedTuple):
    """What was written."""

    summary: dict[str, Any]
    table: Table
    files: list[Path]


def write_experiment_report(folder: Path, out: Path | None = None) -> ExperimentReport:
    """Writes `report.md`, CSV tables, `summary.json` and figures into `out`, by default `folder`.

    Raises: RunError where no seed is done.
    """
    results = read_results(folder)
    out = out or folder
    out.mkdir(parents=True, exist_ok=True)
    with _one_thread():
        summary = summarise(results, folder)
        tables = _write_tables(results, out)
        drawn = draw_experiment(results, folder, out / "figures")
    images = [path.relative_to(out) for path in drawn if path.suffix == ".png"]
    page = format_page(summary, results.experiment, images)
    write_durably(out / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    write_durably(out / "report.md", page.encode())
    if out != folder:
        write_durably(out / "experiment.yaml", (folder / "experiment.yaml").read_bytes())
    files = [out / "report.md", out / "summary.json", *tables, *drawn]
    return ExperimentReport(summary, make_terminal_table(summary), files)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps PyTorch on one thread: the VAEs of the measures are too small for a second one.

    It saves no time, and beside other work it waits for a core in every operation.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def format_headline(report: Path) -> str:
    """The part of a report that another page shows, from the folder of the report alone.

    It depends on the experiment: how well measures predict gains where it tried all pairs of cells;
    else gains where it shows these; else the final evaluations, anew from `results.csv`.
    """
    experiment = read_saved_experiment(report)
    final = pd.read_csv(report / "results.csv")
    summary = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    n_seeds = int(final["seed"].nunique())
    origin = _describe_origin(experiment, n_seeds, INTERVALS)
    # Reports of before 2026-11-25 had percentile bootstrap intervals.
    saved_origin = _describe_origin(experiment, n_seeds, summary.get("intervals", "bootstrap"))
    if "measures" in summary:
        shown = {step: summary["measures"][step] for step in HEADLINE_STEPS}
        return "\n".join([*format_measure_tables(shown), saved_origin])
    if experiment.shows == "gains":
        lines = format_gain_tables(summary["gains"], experiment, GAINS[:1])
        return "\n".join([*lines, saved_origin])
    if experiment.shows == "baseline_gains":
        lines = _format_baseline_gains(summary, experiment, BASELINE_GAINS)
        return "\n".join([*lines, *_format_steps_saved(summary, experiment), origin])
    policies = summarise_policies(experiment, final)
    lines = [*format_final_table(policies, experiment), "", origin, ""]
    lines += format_difference_table(policies, experiment)
    if "learnable_gap" in summary:
        lines += ["", *format_learnable_gap_table(summary["learnable_gap"], experiment)]
    if "baseline_gains" in summary:
        lines += ["", *_format_baseline_gains(summary, experiment, ("reward", "fail_rate_95"))]
        lines += _format_learning_service(summary, experiment)
        lines += _format_steps_saved(summary, experiment)
    if "auc" in summary and experiment.compares_measures:
        lines += ["", *format_auc_table(summary["auc"])]
    return "\n".join(lines)


def write_between_marks(page: Path, name: str, text: str) -> None:
    """Replaces the text between `<!-- begin NAME -->` and `<!-- end NAME -->` in a page.

    Raises: RunError for a page without these marks.
    """
    before, after = split_at_marks(page, name)
    whole = f"{before}\n{text.strip()}\n{after}"
    write_durably(page, whole.encode())


def split_at_marks(page: Path, name: str) -> tuple[str, str]:
    """A page up to its first mark and from its second one. Raises: RunError without them."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, mark, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closing, after = rest.partition(end)
    if not mark or not closing:
        raise RunError(f"{page}: expected the marks {begin} and {end}")
    return before + mark, closing + after


def format_page(
    summary: dict[str, Any], experiment: ExperimentConfig, images: Sequence[Path]
) -> str:
    """The content of `report.md`. `images` are paths relative to it."""
    lines = [
        f"# {experiment.name}",
        "",
        f"{_describe_origin(experiment, summary['seeds'], summary['intervals'])} "
        f"Experiment `{summary['experiment_sha256'][:12]}`.",
        "",
        *format_final_table(summary["policies"], experiment),
        "",
    ]
    if "learnable_gap" in summary:
        lines += [*format_learnable_gap_table(summary["learnable_gap"], experiment), ""]
    lines += _format_baseline_gains(summary, experiment, BASELINE_GAINS)
    lines += _format_learning_service(summary, experiment)
    lines += _format_steps_saved(summary, experiment)
    if "gains" in summary:
        lines += format_gain_tables(summary["gains"], experiment)
    if "auc" in summary:
        lines += [*format_auc_table(summary["auc"]), ""]
    if "measures" in summary:
        lines += format_measure_tables(summary["measures"])
    lines += [f"![{path.stem}]({path})" for path in images]
    return "\n".join(lines) + "\n"


def _format_baseline_gains(
    summary: dict[str, Any], experiment: ExperimentConfig, columns: Iterable[str]
) -> list[str]:
    steps, lines = experiment.shown_steps, list[str]()
    for column in columns:
        table = format_baseline_gain_table(summary["baseline_gains"], experiment, column, steps)
        if table:
            title = f"{BASELINE_GAINS[column]}, after own steps, without exploration noise:"
            lines += [title, "", *table, ""]
    return lines


def _format_learning_service(summary: dict[str, Any], experiment: ExperimentConfig) -> list[str]:
    table = format_learning_service_table(summary["while_learning"], experiment)
    return ["Service while the policies learn, exploration included:", "", *table, ""]


def _format_steps_saved(summary: dict[str, Any], experiment: ExperimentConfig) -> list[str]:
    table = format_steps_saved_table(summary.get("steps_saved", {}), experiment)
    return [STEPS_SAVED, "", *table, ""] if table else []


def _describe_origin(experiment: ExperimentConfig, seeds: int, intervals: str) -> str:
    command = f"slicing-rllib experiment {experiment.name} --seeds {seeds}"
    return f"`{command}`: {seeds} seeds; brackets are 95 % intervals over seeds ({intervals})."


def _write_tables(results: Results, out: Path) -> list[Path]:
    experiment = results.experiment
    by_seed = results.curves.groupby(["seed", "arm", "steps"], as_index=False)
    tables = {
        "results.csv": results.final,
        "curves.csv": by_seed[CURVE_COLUMNS].mean(),
        "transfers.csv": results.transfers,
    }
    if len(experiment.rotations) > 1:
        frames = [
            compute_pair_gains(results, step).assign(steps=step) for step in experiment.shown_steps
        ]
        tables["pairs.csv"] = pd.concat(frames)
    for name, table in tables.items():
        write_durably(out / name, table.to_csv(index=False, float_format="%.5f").encode())
    return [out / name for name in tables]
