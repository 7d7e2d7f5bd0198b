"""An experiment's report: a Markdown page, tables, figures, and the headline for another page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from slicing_rllib.evaluation import figures, looks
from slicing_rllib.evaluation.tables import format_csv, read_table
from slicing_rllib.policies.td3_settings import TRAINED_POLICIES
from slicing_rllib.runs.policy_evaluation import load_rollouts
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.run_report import compare_cells, draw_comparison
from slicing_rllib.storage import read_json, read_text, write_durably
from slicing_rllib.studies.experiment import get_arm_folder
from slicing_rllib.studies.results import (
    Results,
    compute_baseline_gains,
    compute_pair_gains,
    read_results,
)
from slicing_rllib.studies.study_configs import ExperimentConfig
from slicing_rllib.studies.study_tables import join_sections, make_sections
from slicing_rllib.studies.summary import summarise, summarise_policies

DISTANCE_MEASURE = "mean_shift"
"""Measure of the figure of gain over distance."""
HEAT_MAP_MEASURES = ("kl_paper", "mean_shift")
HEADLINES = {
    "ends": ("policies", "origin", "differences", "learnable_gap", "baseline_gains/reward",
             "baseline_gains/fail_rate_95", "while_learning", "steps_saved"),
    "gains": ("gains/evaluated", "origin"),
    "baseline_gains": ("baseline_gains/reward", "baseline_gains/fail_rate_95",
                       "baseline_gains/over_base_policy", "steps_saved", "origin"),
    "costs": ("costs", "policies", "origin"),
    "measures": ("measures/0", "measures/200", "origin"),
}  # fmt: skip
"""By what an experiment shows, the sections of its headline."""


def write_experiment_report(
    folder: Path, out: Path | None = None
) -> tuple[dict[str, Any], list[Path]]:
    """Writes `report.md`, CSV tables, `summary.json` and figures into `out`, by default `folder`.

    Returns the summary and the files. Raises: RunError where no seed is done.
    """
    results = read_results(folder)
    out = out or folder
    out.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    # The VAEs of the measures are too small for a second thread: it saves no time, and beside other
    # work it waits for a core in every operation.
    torch.set_num_threads(1)
    try:
        summary = summarise(results)
        drawn = _draw_experiment(results, out / "figures")
    finally:
        torch.set_num_threads(threads)
    tables = {
        "results.csv": results.final,
        "curves.csv": results.network_curves.reset_index().sort_values(["seed", "arm", "step"]),
        "transfers.csv": results.transfers,
    }
    if len(results.experiment.rotations) > 1:
        tables["pairs.csv"] = compute_pair_gains(results)
    for name, table in tables.items():
        write_durably(out / name, format_csv(table, float_format="%.5f").encode())
    images = [path.relative_to(out) for path in drawn if path.suffix == ".png"]
    page = format_page(summary, results.experiment, images)
    write_durably(out / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    write_durably(out / "report.md", page.encode())
    if out != folder:
        write_durably(out / "experiment.yaml", read_text(folder / "experiment.yaml").encode())
    return summary, [
        out / "report.md",
        out / "summary.json",
        *(out / name for name in tables),
        *drawn,
    ]


def format_page(
    summary: dict[str, Any], experiment: ExperimentConfig, images: Sequence[Path]
) -> str:
    """The content of `report.md`. `images` are paths relative to it."""
    origin = f"{_describe_origin(summary)} Experiment `{summary['experiment_sha256'][:12]}`."
    sections = make_sections(summary, experiment).values()
    pictures = [f"![{path.stem}]({path})" for path in images]
    return join_sections([[f"# {experiment.name}"], [origin], *sections, pictures]) + "\n"


def format_headline(report: Path) -> str:
    """The tables of a report that another page shows, from the folder of the report alone.

    They depend on the experiment: how well measures predict gains where it tried all pairs of
    cells, else what its `shows` says. Final evaluations are summarised anew from `results.csv`.
    """
    experiment = ExperimentConfig.load(report / "experiment.yaml")
    summary = read_json(report / "summary.json")
    summary["policies"] = summarise_policies(experiment, read_table(report / "results.csv"))
    sections = make_sections(summary, experiment) | {"origin": [_describe_origin(summary)]}
    shown = list(HEADLINES["measures" if "measures" in summary else experiment.shows])
    if experiment.compares_measures and experiment.shows == "ends":
        shown.append("auc")
    return join_sections(sections[name] for name in shown if name in sections)


def _describe_origin(summary: dict[str, Any]) -> str:
    seeds = summary["seeds"]
    command = f"slicing-rllib experiment {summary['experiment']} --seeds {seeds}"
    intervals = summary["intervals"]
    return f"`{command}`: {seeds} seeds; brackets are 95 % intervals over seeds ({intervals})."


def plot_experiment(results: Results) -> dict[str, Figure]:
    """The figures of an experiment's report but the heat maps, by name."""
    experiment = results.experiment
    with_paper, titles = experiment.is_on_papers_network, experiment.titles
    # A dozen distributions in one figure cannot be told apart, so it shows the first two arms.
    pooled: dict[str, dict[str, list[np.ndarray]]] = {"satisfaction": {}, "delay_max_ms": {}}
    for seed in results.seeds:
        for arm in list(experiment.arms)[:2]:
            table = load_rollouts(get_arm_folder(results.folder, seed, arm) / "evaluation.npz")
            for name, columns in table.items():
                label = arm if name in TRAINED_POLICIES else name
                for kept, by_policy in pooled.items():
                    live = columns[kept][columns["live"] > 0]
                    by_policy.setdefault(label, []).append(live)
    satisfied, delays = (
        {name: np.concatenate(parts) for name, parts in by_policy.items()}
        for by_policy in pooled.values()
    )
    curves = results.network_curves["evaluated"].rename("value").reset_index()
    rewards = results.final.groupby("policy")["reward_mean"].mean()
    drawn = {
        "reward": figures.draw_rewards(
            curves[~curves["arm"].isin(experiment.rotations[1:])],
            {name: rewards[name] for name in experiment.baselines if name != "equal"},
            titles,
        ),
        "satisfaction": figures.draw_satisfaction_ccdf(satisfied, titles, with_paper=with_paper),
        "delay": figures.draw_delay_cdf(delays, titles, with_paper=with_paper),
    }
    gains = compute_baseline_gains(results)
    gains = gains[gains["metric"] == "reward"].dropna()
    if len(gains):
        drawn["gain"] = figures.draw_gains(gains, titles)
    if experiment.foreign:
        over_time = results.network_curves.reset_index().dropna(subset=["cpu_s"])
        drawn["reward_cpu"] = figures.draw_rewards_over_time(over_time, titles)
    if len(results.source_choices) > 1:
        pairs = _compute_relative_gains(results)
        drawn["gain_over_distance"] = figures.draw_gain_over_distance(pairs, DISTANCE_MEASURE)
    return drawn


def _draw_experiment(results: Results, out: Path) -> list[Path]:
    """Saves all figures of a report into `out`; their paths."""
    drawn, experiment = plot_experiment(results), results.experiment
    paths = [path for name, each in drawn.items() for path in looks.save(each, out, name)]
    source_arm = RunDirectory(get_arm_folder(results.folder, 0, experiment.first))
    for compared in compare_cells(source_arm, HEAT_MAP_MEASURES).values():
        paths += draw_comparison(source_arm, compared, out)
    return paths


def _compute_relative_gains(results: Results) -> pd.DataFrame:
    """Columns step, distance and gain of each pair of cells, for targets with several sources.

    How much a target can gain does not depend on its source, so its mean is subtracted.
    """
    distances = results.pair_distances
    measured = distances[distances["measure"] == DISTANCE_MEASURE]
    pairs = compute_pair_gains(results).merge(measured, on=["seed", "target", "source"])
    by_target = pairs.groupby(["step", "seed", "target"])["gain"]
    pairs["gain"] -= by_target.transform("mean")
    return pairs[by_target.transform("size") > 1]
