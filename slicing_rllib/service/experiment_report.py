"""Tables and figures of an experiment, from its run directories alone."""

# pandas' own annotations are wider than what it returns.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from rich.table import Table

from slicing_rllib.evaluation import experiment_figures, figures
from slicing_rllib.evaluation.experiment_figures import Band
from slicing_rllib.evaluation.statistics import (
    METRICS,
    gap_closed,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
    seed_interval,
)
from slicing_rllib.evaluation.transfer_statistics import foretold
from slicing_rllib.service.comparing import compare_cells, draw_comparison
from slicing_rllib.service.evaluating import load_rollouts
from slicing_rllib.service.experiment_config import ExperimentConfig
from slicing_rllib.service.experiment_results import (
    Results,
    gains,
    learning_gain,
    per_seed,
    read_results,
)
from slicing_rllib.service.experiments import arm_folder
from slicing_rllib.service.pairs import (
    compares_measures,
    group_aucs,
    measure_table,
    pair_distances,
    pair_gains,
    rotations,
    source_choices,
)
from slicing_rllib.service.run_directory import RunDirectory, RunError, write_atomically

PAPER = {
    "traffic_aware": {"satisfaction_mean": 0.87, "fail_rate_95": 0.25, "delay_max_ms": 1.8},
    "drl": {"satisfaction_mean": 0.90, "fail_rate_95": 0.19, "delay_max_ms": 1.7},
    "tl": {"satisfaction_mean": 0.92, "fail_rate_95": 0.12, "delay_max_ms": 1.5},
}
"""Fig. 5, Fig. 6 and text of the paper."""
PAPER_ARMS = {"drl", "tl"}
SHOWN = ("satisfaction_mean", "fail_rate_95", "delay_max_ms", "reward_mean")
GAINS = (
    ("evaluated", "evaluated without noise"),
    ("while_learning", "while learning, noise and exploration included, as the paper counts"),
)
HEADLINE_STEPS = ("0", "200")
_SPAWN_REPORT = 6


class ExperimentReport(NamedTuple):
    summary: dict[str, Any]
    table: Table
    files: list[Path]


def write_experiment_report(folder: Path, out: Path | None = None) -> ExperimentReport:
    """`report.md`, tidy CSVs, `summary.json`, figures. Raises: RunError where no seed is done."""
    results = read_results(folder)
    where = out or folder
    where.mkdir(parents=True, exist_ok=True)
    summary = summarised(results, folder)
    files = _write_tables(results, where)
    drawn = _draw(results, folder, where / "figures")
    text = markdown(summary, results, [path for path in drawn if path.suffix == ".png"], where)
    write_atomically(where / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    write_atomically(where / "report.md", text.encode())
    if where != folder:
        write_atomically(where / "experiment.yaml", (folder / "experiment.yaml").read_bytes())
    files = [where / "report.md", where / "summary.json", *files, *drawn]
    return ExperimentReport(summary, _rich(summary), files)


def headline(report: Path) -> str:
    """What a README carries, from the folder of a report alone.

    The table of final evaluations, anew from `results.csv`; gains, where an experiment shows these;
    how well measures foretold them, where it tried all pairs.
    """
    experiment = ExperimentConfig.model_validate(
        yaml.safe_load((report / "experiment.yaml").read_text(encoding="utf-8"))
    )
    final = pd.read_csv(report / "results.csv")
    summary = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    seeds = int(final["seed"].nunique())
    told = (
        f"`slicing-rllib experiment {experiment.name} --seeds {seeds}`: {seeds} seeds, brackets "
        "are 95 % intervals by bootstrap over whole seeds."
    )
    if "measures" in summary:
        shown = {step: summary["measures"][step] for step in HEADLINE_STEPS}
        return "\n".join([*_measure_lines(shown), told])
    if experiment.shows == "gains":
        lines = _gain_lines(summary, experiment.reference or "", experiment.titles, GAINS[:1])
        return "\n".join([*lines, told])
    empty = pd.DataFrame()
    policies = policies_of(Results(experiment, final, empty, empty, empty))
    lines = _final_lines({"policies": policies}, experiment)
    lines += [told, "", *_difference_lines(policies, experiment)]
    if "auc" in summary and compares_measures(experiment):
        lines += ["", *_auc_lines(summary["auc"])]
    return "\n".join(lines)


def write_into(page: Path, name: str, text: str) -> None:
    """Replaces what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.

    Raises: RunError for a page without these marks.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, mark, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closing, after = rest.partition(end)
    if not mark or not closing:
        raise RunError(f"{page}: expected the marks {begin} and {end}")
    whole = f"{before}{begin}\n{text.strip()}\n{end}{after}"
    write_atomically(page, whole.encode())


def policies_of(results: Results) -> dict[str, Any]:
    """Every policy's row."""
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(_SPAWN_REPORT,)))
    return {p: _policy(results, p, rng) for p in results.final["policy"].unique()}


def summarised(results: Results, folder: Path) -> dict[str, Any]:
    """All that the report says, as plain numbers."""
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(_SPAWN_REPORT,)))
    experiment = results.experiment
    told = experiment.model_dump(mode="json", exclude={"shows"}) | {"seeds": 0}
    plain = json.dumps(told, sort_keys=True)
    summary: dict[str, Any] = {
        "experiment": experiment.name,
        "seeds": int(results.final["seed"].nunique()),
        "experiment_sha256": hashlib.sha256(plain.encode()).hexdigest(),
        "policies": policies_of(results),
    }
    if experiment.reference is not None:
        summary["gains"] = {
            arm: _gains(results, arm, rng) for arm in experiment.arms if arm != experiment.reference
        }
    if len(rotations(results)) > 1:
        summary["measures"] = _measures(results, folder, rng)
    aucs = group_aucs(results, folder)
    if len(aucs):
        summary["auc"] = {
            measure: _mean_and_interval(mine["auc"].to_numpy(), rng)
            for measure, mine in aucs.groupby("measure")
        }
    if len(results.transfers):
        by_arm = results.transfers.groupby("arm")["harmful"]
        summary["alarms"] = {
            str(arm): {"warm_starts": int(harmful.size), "rolled_back": int(harmful.sum())}
            for arm, harmful in by_arm
        }
    return summary


def _policy(results: Results, policy: str, rng: np.random.Generator) -> dict[str, Any]:
    """Mean, interquartile mean and interval of each metric; difference to the reference."""
    table = per_seed(results.final, policy)
    row: dict[str, Any] = {"seeds": len(table), "ci95": {}, "iqm": {}}
    for place, metric in enumerate(METRICS):
        column = table[:, place]
        row[metric] = float(column.mean())
        row["iqm"][metric] = float(interquartile_mean(column))
        row["ci95"][metric] = seed_interval(np.mean, column, rng=rng)
    known = set(results.final["policy"])
    if {"equal", "oracle"} <= known:
        rewards = [per_seed(results.final, name)[:, 0] for name in (policy, "equal", "oracle")]
        row["oracle_gap_closed"] = float(gap_closed(*rewards))
        row["ci95"]["oracle_gap_closed"] = seed_interval(gap_closed, *rewards, rng=rng)
    against = {}
    others = [results.experiment.reference, "traffic_aware"]
    for other in dict.fromkeys(o for o in others if o in known and o != policy):
        theirs = per_seed(results.final, str(other))
        against[other] = {
            metric: _difference(table[:, place], theirs[:, place], rng)
            for place, metric in enumerate(METRICS)
        }
    return row | {"less": against}


def _difference(ours: np.ndarray, theirs: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    mean, interval = paired_difference(ours, theirs, rng)
    chance = probability_of_improvement(ours, theirs)
    return {"mean": mean, "ci95": interval, "share_of_seeds_above": chance}


def _gains(results: Results, arm: str, rng: np.random.Generator) -> dict[str, Any]:
    """At equal own steps: evaluated without noise, and while learning as the paper counts."""
    found: dict[str, Any] = {}
    for step in (0, *results.experiment.at_steps):
        evaluated = gains(results, arm, step)
        entry: dict[str, Any] = {}
        if len(evaluated):
            by_seed = evaluated.groupby("seed")["gain"].mean().to_numpy()
            entry["evaluated"] = _mean_and_interval(by_seed, rng)
            entry["negative"] = float((evaluated["gain"] < 0).mean())
        learning = learning_gain(results, arm, step)
        if len(learning):
            entry["while_learning"] = _mean_and_interval(learning, rng)
        if entry:
            found[str(step)] = entry
    return found


def _measures(results: Results, folder: Path, rng: np.random.Generator) -> dict[str, Any]:
    """How well each measure foretold gains, by own steps."""
    distances = pair_distances(folder)
    found: dict[str, Any] = {}
    for step in (0, *results.experiment.at_steps):
        pairs = pair_gains(results, step)
        if not len(pairs):
            continue
        table = measure_table(pairs, distances)
        found[str(step)] = {
            str(measure): {
                column: _mean_and_interval(mine[column].to_numpy(), rng)
                for column in ("spearman", "regret", "gain", "negative")
            }
            for measure, mine in table.groupby("measure")
        }
    return found


def _mean_and_interval(values: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return {"mean": None, "ci95": None, "seeds": 0}
    interval = seed_interval(np.mean, finite, rng=rng)
    return {"mean": float(finite.mean()), "ci95": interval, "seeds": len(finite)}


def _write_tables(results: Results, where: Path) -> list[Path]:
    tables = {
        "results.csv": results.final,
        "curves.csv": results.curves.groupby(["seed", "arm", "steps"], as_index=False)[
            "evaluated"
        ].mean(),
        "transfers.csv": results.transfers,
    }
    if len(rotations(results)) > 1:
        frames = [
            pair_gains(results, step).assign(steps=step)
            for step in (0, *results.experiment.at_steps)
        ]
        tables["pairs.csv"] = pd.concat(frames)
    for name, table in tables.items():
        write_atomically(where / name, table.to_csv(index=False, float_format="%.5f").encode())
    return [where / name for name in tables]


def _draw(results: Results, folder: Path, where: Path) -> list[Path]:
    titles = results.experiment.titles
    arms = [arm for arm in results.experiment.arms if arm not in rotations(results)[1:]]
    bands = {arm: _band(results, arm) for arm in arms}
    known = [name for name in results.experiment.baselines if name != "equal"]
    levels = {name: float(per_seed(results.final, name)[:, 0].mean()) for name in known}
    # A dozen distributions on top of each other show nothing: the first two arms speak for all.
    satisfied, delays = _pooled(results, folder, arms[:2])
    made = {
        "reward": experiment_figures.reward_bands(bands, levels, titles),
        "satisfaction": experiment_figures.satisfaction_ccdfs(satisfied, titles),
        "delay": experiment_figures.delay_cdfs(delays, titles),
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
    for step in (0, *results.experiment.at_steps):
        joined = mine.merge(pair_gains(results, step), on=["seed", "target", "source"])
        if not len(joined):
            continue
        # A target's own level is not the source's doing.
        by_target = joined.groupby(["seed", "target"])["gain"]
        joined = joined[by_target.transform("size").gt(1)]
        relative = joined["gain"] - by_target.transform("mean").loc[joined.index]
        distance = joined["distance"].to_numpy()
        gain_by_step[step] = relative.to_numpy()
        correlation[step] = foretold(distance, relative.to_numpy())
    return experiment_figures.gain_over_distance(distance, gain_by_step, correlation, measure)


def _band(results: Results, arm: str) -> Band:
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(_SPAWN_REPORT, 1)))
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


def markdown(summary: dict[str, Any], results: Results, drawn: list[Path], where: Path) -> str:
    """The page."""
    experiment, seeds = results.experiment, summary["seeds"]
    lines = [
        f"# {experiment.name}",
        "",
        f"`slicing-rllib experiment {experiment.name} --seeds {seeds}`, {seeds} seeds; brackets "
        "are 95 % intervals by bootstrap over whole seeds. Experiment "
        f"`{summary['experiment_sha256'][:12]}`.",
        "",
        *_final_lines(summary, experiment),
    ]
    if "gains" in summary:
        lines += _gain_lines(summary, experiment.reference or "", experiment.titles)
    if "auc" in summary:
        lines += [*_auc_lines(summary["auc"]), ""]
    if "measures" in summary:
        lines += _measure_lines(summary["measures"])
    lines += [f"![{path.stem}]({path.relative_to(where)})" for path in drawn]
    return "\n".join(lines) + "\n"


def _final_lines(summary: dict[str, Any], experiment: ExperimentConfig) -> list[str]:
    """Beside the paper's numbers where an arm is one of the paper's, on the paper's network."""
    policies, titles = summary["policies"], experiment.titles
    elsewhere = any(setting.startswith("scenario") for setting in experiment.set)
    beside = bool(policies.keys() & PAPER_ARMS) and not elsewhere
    heads = [f"{metric} | paper" if beside else metric for metric in SHOWN[:3]]
    lines = [
        f"| policy | {' | '.join(heads)} | reward |",
        "| --- " * (8 if beside else 5) + "|",
    ]
    for name, row in policies.items():
        cells = []
        for metric in SHOWN[:3]:
            paper = PAPER.get(name, {}).get(metric)
            cells.append(_with_interval(row, metric))
            if beside:
                cells.append("" if paper is None else f"{paper:g}")
        cells.append(_with_interval(row, "reward_mean"))
        lines.append(f"| {titles.get(name, name)} | {' | '.join(cells)} |")
    return [*lines, ""]


def _difference_lines(policies: dict[str, Any], experiment: ExperimentConfig) -> list[str]:
    """Each arm less the reference, the reference less the baseline: paired, seed by seed."""
    reference = experiment.reference
    pairs = [(arm, reference) for arm in experiment.arms if reference and arm != reference]
    if reference and "traffic_aware" in policies:
        pairs.insert(0, (reference, "traffic_aware"))
    titles = experiment.titles
    lines = [
        "| paired difference | satisfaction | share below 0.95 | reward |",
        "| --- | --- | --- | --- |",
    ]
    for one, other in pairs:
        less = policies[one]["less"][other]
        cells = [_signed(less[m]) for m in ("satisfaction_mean", "fail_rate_95", "reward_mean")]
        name = f"{titles.get(one, one)} less {titles.get(str(other), other)}"
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _signed(entry: dict[str, Any]) -> str:
    interval = entry["ci95"]
    shown = f" [{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else ""
    return f"{entry['mean']:+.3f}{shown}"


def _gain_lines(
    summary: dict[str, Any],
    reference: str,
    titles: dict[str, str],
    kinds: Sequence[tuple[str, str]] = GAINS,
) -> list[str]:
    steps = list(dict.fromkeys(step for arm in summary["gains"].values() for step in arm))
    lines = []
    for key, what in kinds:
        lines += [
            f"Gain in reward over {titles.get(reference, reference)} at equal own steps, {what}:",
            "",
            "| arm | " + " | ".join(f"{step} steps" for step in steps) + " |",
            "| --- " * (len(steps) + 1) + "|",
        ]
        for arm, found in summary["gains"].items():
            cells = [_brief(found.get(step, {}).get(key)) for step in steps]
            lines.append(f"| {titles.get(arm, arm)} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def _measure_lines(measures: dict[str, Any]) -> list[str]:
    lines = []
    for step, table in measures.items():
        lines += [
            f"Measures at {step} own steps: does a nearer source gain more?",
            "",
            "| measure | Spearman | regret of its choice | gain of its choice | negative |",
            "| --- " * 5 + "|",
        ]
        ranked = sorted(table.items(), key=lambda item: item[1]["regret"]["mean"])
        for measure, row in ranked:
            cells = [_brief(row[c]) for c in ("spearman", "regret", "gain", "negative")]
            lines.append(f"| {measure} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def _auc_lines(aucs: Mapping[str, Any]) -> list[str]:
    """Which measures tell SLA groups apart, the best first."""
    ordered = sorted(aucs, key=lambda measure: -aucs[measure]["mean"])
    return [
        "| measure | AUC: cells with equal promises are nearer |",
        "| --- | --- |",
        *(f"| {measure} | {_brief(aucs[measure])} |" for measure in ordered),
    ]


def _rich(summary: dict[str, Any]) -> Table:
    table = Table(title=f"{summary['experiment']}, {summary['seeds']} seeds")
    for heading in ("policy", *SHOWN):
        table.add_column(heading, justify="left" if heading == "policy" else "right", no_wrap=True)
    for name, row in sorted(
        summary["policies"].items(), key=lambda item: item[1]["satisfaction_mean"]
    ):
        table.add_row(name, *(_with_interval(row, metric) for metric in SHOWN))
    return table


def _with_interval(row: dict[str, Any], metric: str) -> str:
    return _brief({"mean": row[metric], "ci95": row["ci95"][metric]})


def _brief(entry: dict[str, Any] | None) -> str:
    if not entry or entry["mean"] is None:
        return ""
    interval = entry["ci95"]
    shown = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return f"{entry['mean']:.3f}{shown}"
