"""What a finished run shows: figures, tables (Markdown, CSV), and how similar its cells are.

Everything is made from the files of the run alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from slicing_rllib.evaluation import figures, looks
from slicing_rllib.evaluation.other_figures import draw_heat_map
from slicing_rllib.evaluation.statistics import METRICS, group_auc, summarise_seeds
from slicing_rllib.evaluation.tables import format_csv, format_mean, format_table, make_hour_rows
from slicing_rllib.policies.events import EventKind
from slicing_rllib.policies.td3_settings import TRAINED_POLICIES
from slicing_rllib.runs.experience import read_experience
from slicing_rllib.runs.policy_evaluation import load_rollouts
from slicing_rllib.runs.run_config import RunConfig
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.storage import write_durably
from slicing_rllib.storage.errors import RunError
from slicing_rllib.transfer.decision import CellSamples, Distances, compute_distances_by_measure
from slicing_rllib.transfer.methods import Sla
from slicing_rllib.transfer.sources import join_samples


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
    figure = draw_heat_map(names, matrix, compared.groups, chosen, compared.measure)
    return looks.save(figure, folder or run.figures, f"similarity-{compared.measure}")


SMOOTHING_STEPS = 400
"""Window, in environment steps, of the running mean over rewards: whole periods of the traffic."""
SHOWN = ("equal", "traffic_aware", "smoothed_persistence", "oracle", *TRAINED_POLICIES)
"""Policies in the figures. Tables have all of them."""
CURVE_COLUMNS = ["arm", "step", "value"]
"""Of the tidy tables that figures draw curves from."""


def draw_run(run: RunDirectory, folder: Path | None = None) -> list[Path]:
    """Saves the figures of `plot_run` into `folder`, by default the run's own; the files."""
    return [
        path
        for name, figure in plot_run(run).items()
        for path in looks.save(figure, folder or run.figures, name)
    ]


def plot_run(run: RunDirectory) -> dict[str, Figure]:
    """Reward over training, satisfaction and delay of the final evaluation, by name.

    Where the run has a transfer, also the warm starts and the distances of its decisions.
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
    return {
        "reward": _draw_training(run),
        "satisfaction": figures.draw_satisfaction_ccdf(satisfied),
        "delay": figures.draw_delay_cdf(delays, unit="SLA"),
        **_draw_warm_starts(run),
        **_draw_decisions(run),
    }


def _draw_warm_starts(run: RunDirectory) -> dict[str, Figure]:
    """For each cell that joined, evaluated rewards over its own steps: a curve per learner."""
    config = run.config()
    drawn: dict[str, Figure] = {}
    for deployment in config.joining:
        cell, joined = deployment.cell, deployment.default_action_until
        runs = {config.own_policy: (run, joined * max(config.num_env_runners, 1))}
        if config.trains_from_scratch_too:
            runs[config.learning.learner] = (run.from_scratch, runs[config.own_policy][1])
        runs |= {learner: (run.compared(learner), 0) for learner in config.compared_learners}
        points = [
            (arm, step - first, seed, reward)
            for arm, (each, first) in runs.items()
            for step, rewards in _read_evaluations(each, cell)
            for seed, reward in enumerate(rewards)
            # At its first own step a transferred cell still has the policy that it replaces.
            if step > first or (step == first and arm != config.own_policy)
        ]
        table = pd.DataFrame(points, columns=["arm", "step", "seed", "value"])
        start = _read_start(run)
        levels = {name: start[name][cell] for name in start if name != "start"}
        figure = figures.draw_warm_start(cell, table, levels, "smoothed_persistence")
        drawn[f"warm_start-{cell}"] = figure
    return drawn


def _read_start(run: RunDirectory) -> dict[str, dict[str, list[float]]]:
    """By policy and cell, the rewards per seed with which the learning curve begins."""
    found = (event["evidence"] for event in run.events() if event["kind"] == EventKind.STARTED)
    return next(found, {})


def _read_evaluations(run: RunDirectory, cell: str) -> Iterator[tuple[int, list[float]]]:
    """Environment steps of the learning curve, each with the cell's rewards per seed."""
    if start := _read_start(run).get("start"):
        yield 0, start[cell]
    for row in run.metrics():
        found = row["cells"][cell]
        if "evaluation_reward" in found:
            by_seed = found.get("evaluation_reward_by_seed", [found["evaluation_reward"]])
            yield row["env_steps"], by_seed


def _draw_decisions(run: RunDirectory) -> dict[str, Figure]:
    """The distances that the run's decisions were made from; frames mark the chosen sources."""
    decided = {
        event["cell"]: event["evidence"]
        for event in run.events()
        if event["kind"] == EventKind.SOURCE_CHOSEN and event["evidence"].get("distances")
    }
    if not decided:
        return {}
    config = run.config()
    known = config.scenario.cells
    others = sorted({name for each in decided.values() for name in each["distances"]} - {*known})
    names = [*known, *others]
    matrix = np.full((len(names), len(names)), np.nan)
    for target, evidence in decided.items():
        for source, distance in evidence["distances"].items():
            matrix[names.index(source), names.index(target)] = distance
    groups = [name for site in config.scenario.sites for name in site.sla_groups]
    chosen = {target: each["source"] for target, each in decided.items() if each["source"]}
    targets = [names.index(target) for target in decided]
    measure = next(iter(decided.values()))["measure"]
    groups += [""] * len(others)
    return {"decisions": draw_heat_map(names, matrix, groups, chosen, measure, targets)}


def _draw_training(run: RunDirectory) -> Figure:
    """Rewards of the learning curve, and running means of those while learning.

    Beside the latter are those of other splits in the same steps. A mean is over the last
    SMOOTHING_STEPS steps, weighted by the steps of an iteration.
    """
    rows, config = run.metrics(), run.config()
    runners = max(config.num_env_runners, 1)
    if not rows:
        raise RunError(f"{run.path}: expected metrics.jsonl with at least one row")
    own = config.own_policy
    evaluated = [
        (own, row["env_steps"], row["evaluation_reward_mean"])
        for row in rows
        if "evaluation_reward_mean" in row
    ]
    if start := _read_start(run).get("start"):
        evaluated.insert(0, (own, 0, float(np.mean(list(start.values())))))
    learned = [row for row in rows if row.get("reward_mean") is not None]
    known = [row.get("same_steps") or {} for row in learned]
    ends = np.array([row["env_steps"] for row in learned])
    steps = np.diff(ends, prepend=0)
    curves = {own: [row["reward_mean"] for row in learned]}
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
        own=own,
        changes={
            "a cell joins": [each.off_until * runners for each in config.joining],
            "warm start": [each.default_action_until * runners for each in config.joining],
            "the network changes": [event.step * runners for event in config.env.events],
        },
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
