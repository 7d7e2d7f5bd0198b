"""What a finished run shows: figures, tables (Markdown, CSV), and how similar its cells are.

Everything is made from the files of the run alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from slicing_rllib.evaluation import figures
from slicing_rllib.evaluation.statistics import METRICS, group_auc, summarise_seeds
from slicing_rllib.evaluation.tables import format_csv, format_mean, format_table, make_hour_rows
from slicing_rllib.policies.events import EventKind
from slicing_rllib.runs.experience import read_experience
from slicing_rllib.runs.policy_evaluation import load_rollouts
from slicing_rllib.runs.run_config import PolicyName, RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.storage import write_durably
from slicing_rllib.storage.errors import RunError
from slicing_rllib.transfer.decision import CellSamples, Distances, compute_distances_by_measure
from slicing_rllib.transfer.methods import Sla
from slicing_rllib.transfer.sources import join_samples
from slicing_rllib.transfer.transfer_settings import WITHOUT_DISTANCE


class Comparison(NamedTuple):
    """All pairs of a run's cells by one measure."""

    measure: str
    distances: Distances
    groups: tuple[str, ...]
    """SLA group of every cell."""
    auc: float | None
    """Probability that two cells of one SLA group are nearer than two of different groups; None
    where there is only one group."""

    @property
    def nearest(self) -> dict[str, str]:
        """By target cell, the source with the smallest distance."""
        names = self.distances.names
        apart = np.where(np.eye(len(names), dtype=bool), np.inf, self.distances.mean)
        return {target: names[i] for target, i in zip(names, apart.argmin(axis=0), strict=True)}


def compare_cells(
    run: RunDirectory, measures: Sequence[str], seed: int = 0
) -> dict[str, Comparison]:
    """Compares cells by their samples under the default action, by each of the measures.

    `measures` are names of some; `seed` is that of the VAE, where one is needed.
    Raises: RunError where the run has left no samples.
    """
    config = run.config()
    groups = tuple(name for site in config.scenario.sites for name in site.sla_groups)
    samples = read_cell_samples(run, config)
    found = compute_distances_by_measure(samples, measures, config.transfer.vae, seed)
    return {
        measure: Comparison(
            measure,
            distances,
            groups,
            group_auc(distances.mean, groups) if len(set(groups)) > 1 else None,
        )
        for measure, distances in found.items()
    }


def read_cell_samples(run: RunDirectory, config: RunConfig) -> dict[str, CellSamples]:
    """Each cell's [state, reward] under the default action, and its SLA."""
    scenario, experience = config.scenario, read_experience(run)
    slas = map(Sla, scenario.sla_throughput_mbps, scenario.sla_delay_ms)
    return {
        cell: join_samples(experience[cell].default, sla)
        for cell, sla in zip(scenario.cells, slas, strict=True)
    }


def draw_comparison(
    run: RunDirectory, compared: Comparison, folder: Path | None = None
) -> list[Path]:
    """PNG and SVG of the heat map. Frames mark the sources that the run has chosen."""
    chosen = {
        event["cell"]: event["evidence"]["source"]
        for event in run.events()
        if event["kind"] == EventKind.WARM_STARTED and event["evidence"].get("source")
    }
    names, matrix = compared.distances.names, compared.distances.mean
    figure = figures.draw_heat_map(names, matrix, compared.groups, chosen, compared.measure)
    return figures.save(figure, folder or run.figures, f"similarity-{compared.measure}")


SMOOTHING_STEPS = 400
"""Window, in environment steps, of the running mean over rewards: whole periods of the traffic."""
SHOWN = ("equal", "traffic_aware", "smoothed_persistence", "oracle", PolicyName.DRL, PolicyName.TL)
"""Policies in the figures. Tables have all of them."""
CURVE_COLUMNS = ["arm", "step", "value"]
"""Of the tidy tables that figures draw curves from."""


def draw_run(run: RunDirectory, folder: Path | None = None) -> list[Path]:
    """Reward over training, satisfaction and delay of the final evaluation, as PNG and SVG.

    Where the run has a transfer, also the warm starts and the similarity of its cells.
    Raises: RunError where the run has no evaluation yet.
    """
    path = run.path / "evaluation.npz"
    try:
        table = load_rollouts(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: expected the evaluation of a finished run ({error})") from error
    shown = {name: table[name] for name in SHOWN if name in table}
    satisfied, delays = (
        {name: columns[kept][columns["live"] > 0] for name, columns in shown.items()}
        for kept in ("satisfaction", "delay_to_sla_max")
    )
    drawn = {
        "reward": _draw_training(run),
        "satisfaction": figures.draw_satisfaction_ccdf(satisfied),
        "delay": figures.draw_delay_cdf(delays, unit="SLA"),
        **_draw_warm_starts(run),
    }
    config = run.config()
    if config.has_transfer:
        measure = config.transfer.measure
        measure = "mean_shift" if measure in WITHOUT_DISTANCE else measure
        draw_comparison(run, compare_cells(run, [measure])[measure], folder)
    return [
        path
        for name, figure in drawn.items()
        for path in figures.save(figure, folder or run.figures, name)
    ]


def _draw_warm_starts(run: RunDirectory) -> dict[str, Figure]:
    """A figure for each cell that joined: evaluated rewards since its policy took over."""
    config = run.config()
    runs = {config.own_policy: run}
    if config.trains_from_scratch_too:
        runs[PolicyName.DRL] = run.from_scratch
    drawn = {}
    for deployment in config.joining:
        cell, controlled_from = deployment.cell, deployment.default_action_until
        points = [
            (arm, row["env_steps"], row["cells"][cell]["evaluation_reward"])
            for arm, each in runs.items()
            for row in each.metrics()
            if "evaluation_reward" in row["cells"][cell] and row["env_steps"] >= controlled_from
        ]
        table = pd.DataFrame(points, columns=CURVE_COLUMNS)
        figure = figures.draw_warm_start(cell, table, deployment.off_until, controlled_from)
        drawn[f"warm_start-{cell}"] = figure
    return drawn


def _draw_training(run: RunDirectory) -> Figure:
    """Rewards of the learning curve, and running means of those while learning.

    Beside the latter are those of other splits in the same steps. A mean is over the last
    SMOOTHING_STEPS steps, weighted by the steps of an iteration.
    """
    rows, config = run.metrics(), run.config()
    if not rows:
        raise RunError(f"{run.path}: expected metrics.jsonl with at least one row")
    evaluated = [
        (PolicyName.DRL, row["env_steps"], row["evaluation_reward_mean"])
        for row in rows
        if "evaluation_reward_mean" in row
    ]
    learned = [row for row in rows if row.get("reward_mean") is not None]
    known = [row.get("same_steps") or {} for row in learned]
    ends = np.array([row["env_steps"] for row in learned])
    steps = np.diff(ends, prepend=0)
    curves = {PolicyName.DRL: [row["reward_mean"] for row in learned]}
    for name in known[-1] if known else ():
        curves[name] = [each.get(name, np.nan) for each in known]
    points = [
        (arm, now, np.average(np.array(rewards, float)[inside], weights=steps[inside]))
        for arm, rewards in curves.items()
        for now in ends
        for inside in [(ends > now - SMOOTHING_STEPS) & (ends <= now)]
    ]
    return figures.draw_training(
        pd.DataFrame(evaluated, columns=CURVE_COLUMNS),
        rows[-1]["references"],
        pd.DataFrame(points, columns=CURVE_COLUMNS),
        smoothing_steps=SMOOTHING_STEPS,
        exploration_steps=config.learning.exploration_steps,
        changes=[event.step * max(config.num_env_runners, 1) for event in config.env.events],
    )


COLUMNS = (*METRICS, "oracle_gap_closed")

Policies = dict[str, dict[str, Any]]
"""By policy, its row as in `summary.json`."""


def write_report(runs: Sequence[RunDirectory], out: Path | None) -> tuple[Policies, list[Path]]:
    """Writes `report.md`, `report.csv` and, for one run, its figures.

    Brackets in `report.md` are 95 % intervals.

    Several runs become one table in which each run is a seed. `out` is the folder to write to, by
    default that of the only run. Returns the table and the files. Raises: RunError for a run that
    has not finished, or for several runs without `out`.
    """
    summaries = [run.summary() for run in runs]
    if len(runs) == 1:
        policies, folder = summaries[0]["policies"], out or runs[0].path
        drawn = draw_run(runs[0], folder / "figures")
        hours = []
        if "hours" in summaries[0]:
            rows = make_hour_rows(summaries[0]["hours"], list(policies))
            hours = ["", *format_table(["hour", *policies], rows)]
    elif out is None:
        raise RunError("report of several runs: expected --out DIR")
    else:
        policies, folder, drawn, hours = summarise_runs(summaries), out, [], []
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        [name, *(format_mean(row[c], row["ci95"].get(c)) for c in COLUMNS), str(row["seeds"])]
        for name, row in policies.items()
    ]
    lines = [
        *format_table(["policy", *COLUMNS, "seeds"], rows),
        *hours,
        *describe_fixed_maps([run.config() for run in runs]),
        "",
    ]
    write_durably(folder / "report.md", "\n".join(lines).encode())
    numbers = [
        (name, column, row[column], *(row["ci95"].get(column) or ("", "")), row["seeds"])
        for name, row in policies.items()
        for column in COLUMNS
    ]
    columns = ["policy", "metric", "mean", "ci95_low", "ci95_high", "seeds"]
    text = format_csv(pd.DataFrame(numbers, columns=columns), lineterminator="\n")
    write_durably(folder / "report.csv", text.encode())
    return policies, [folder / "report.md", folder / "report.csv", *drawn]


def describe_fixed_maps(configs: Sequence[RunConfig]) -> list[str]:
    """A sentence where `env.map_seed` keeps one radio map over seeds, which narrows intervals."""
    fixed = sorted({own.map_seed for own in configs if own.map_seed != own.seed})
    if not fixed:
        return []
    maps = ", ".join(map(str, fixed))
    what = f"env.map_seed fixes the radio map ({maps})"
    return ["", f"{what}: seeds differ in traffic, movement and weights only."]


def summarise_runs(summaries: Sequence[Mapping[str, Any]]) -> Policies:
    """The policies that all runs have, summarised with each run as one seed."""
    shared = [
        name for name in summaries[0]["policies"] if all(name in s["policies"] for s in summaries)
    ]
    per_seed = {
        name: np.array([[s["policies"][name][m] for m in METRICS] for s in summaries])
        for name in shared
    }
    return summarise_seeds(per_seed)
