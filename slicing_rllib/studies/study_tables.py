"""Tables of an experiment's report, from its summary: lines of Markdown, or for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from slicing_rllib.evaluation.experiment_figures import PAPER
from slicing_rllib.runs.run_config import PolicyName
from slicing_rllib.runs.run_report import format_mean, format_table
from slicing_rllib.studies.experiment_config import ExperimentConfig

PAPER_ARMS = set(PolicyName)
"""Names of arms that the paper has numbers of."""
FINAL_METRICS = ("satisfaction_mean", "fail_rate_95", "delay_max_ms")
DIFFERENCE_METRICS = {
    "satisfaction": "satisfaction_mean",
    "share below 0.95": "fail_rate_95",
    "reward": "reward_mean",
}
"""Columns of the table of paired differences."""
MEASURE_COLUMNS = {
    "Spearman": "spearman",
    "regret of its choice": "regret",
    "its choice − a random source": "over_random",
    "share worse than from scratch": "negative",
}
GAINS = (
    ("evaluated", "evaluated without noise"),
    ("while_learning", "while learning, with exploration and noise, as the paper counts it"),
)
"""Kinds of gains in a summary, and what a table says about them."""


def format_final_table(policies: Mapping[str, Any], experiment: ExperimentConfig) -> list[str]:
    """A row per policy, with the paper's numbers where an arm is the paper's on its network."""
    beside = bool(policies.keys() & PAPER_ARMS) and experiment.is_on_papers_network
    headings = ["policy"]
    for metric in FINAL_METRICS:
        headings += [metric, "paper"] if beside else [metric]
    rows = []
    for name, row in policies.items():
        cells = [experiment.titles.get(name, name)]
        for metric in FINAL_METRICS:
            cells.append(format_mean(row[metric], row["ci95"][metric]))
            if beside:
                paper = PAPER.get(name, {}).get(metric)
                cells.append("" if paper is None else f"{paper:g}")
        rows.append([*cells, format_mean(row["reward_mean"], row["ci95"]["reward_mean"])])
    return format_table([*headings, "reward"], rows)


def format_difference_table(policies: Mapping[str, Any], experiment: ExperimentConfig) -> list[str]:
    """Paired differences: reference − traffic-aware baseline, and each arm − reference."""
    reference, titles = experiment.reference, experiment.titles
    pairs = [(arm, reference) for arm in experiment.arms if reference and arm != reference]
    if reference and "traffic_aware" in policies:
        pairs.insert(0, (reference, "traffic_aware"))
    rows = []
    for ours, theirs in pairs:
        found = policies[ours]["less"][theirs]
        rows.append(
            [
                f"{titles.get(ours, ours)} − {titles.get(str(theirs), theirs)}",
                *(
                    format_mean(found[metric]["mean"], found[metric]["ci95"], signed=True)
                    for metric in DIFFERENCE_METRICS.values()
                ),
            ]
        )
    return format_table(["paired difference", *DIFFERENCE_METRICS], rows)


def format_gain_tables(
    gains: Mapping[str, Any],
    experiment: ExperimentConfig,
    kinds: Sequence[tuple[str, str]] = GAINS,
) -> list[str]:
    """For each kind of gain, a table with a row per arm and a column per number of own steps."""
    titles, reference = experiment.titles, experiment.reference or ""
    steps = list(dict.fromkeys(step for arm in gains.values() for step in arm))
    lines = []
    for key, description in kinds:
        over = titles.get(reference, reference)
        lines += [
            f"Gain in reward over {over} after equal numbers of own steps, {description}:",
            "",
        ]
        rows = [
            [titles.get(arm, arm), *(_format_entry(found.get(step, {}).get(key)) for step in steps)]
            for arm, found in gains.items()
        ]
        lines += [*format_table(["arm", *(f"{step} steps" for step in steps)], rows), ""]
    return lines


def format_baseline_gain_table(
    gains: Mapping[str, Any], experiment: ExperimentConfig, column: str, steps: Sequence[int]
) -> list[str]:
    """A row per arm, a column per number of own steps: arm − what the column compares with.

    `column` is `reward`, `fail_rate_95` or `over_base_policy`; all without exploration noise and on
    the same traffic. Arms without a value are left out; no lines where no arm has one.
    """
    shown = [step for step in steps if any(str(step) in found for found in gains.values())]
    rows = []
    for arm, found in gains.items():
        cells = [_format_entry(found.get(str(s), {}).get(column), signed=True) for s in shown]
        if any(cells):
            rows.append([experiment.titles[arm], *cells])
    if not rows:
        return []
    return format_table(["arm", *(f"{step} steps" for step in shown)], rows)


def format_learnable_gap_table(gap: Mapping[str, Any], experiment: ExperimentConfig) -> list[str]:
    """A row per policy: share of the gain of the learnable ceiling over traffic-aware."""
    rows = [
        [experiment.titles.get(name, name), _format_entry(entry)]
        for name, entry in gap["closed"].items()
    ]
    heading = f"share of the learnable gap closed (ceiling: {gap['ceiling_gain']:+.4f} of reward)"
    return format_table(["policy", heading], rows)


def format_learning_service_table(
    service: Mapping[str, Any], experiment: ExperimentConfig
) -> list[str]:
    """A row per arm: reward and share below 0.95 of the network while it learns."""
    spans = list(next(iter(service.values())))
    titles = {"reward": "reward", "fail_rate_95": "below 0.95"}
    headings = [f"{title}, {s} steps" for s in spans for title in titles.values()]
    rows = [
        [
            experiment.titles[arm],
            *(_format_entry(found[span][column]) for span in spans for column in titles),
        ]
        for arm, found in service.items()
    ]
    return format_table(["arm", *headings], rows)


def format_steps_saved_table(saved: Mapping[str, Any], experiment: ExperimentConfig) -> list[str]:
    """A row per arm: steps until each level, and steps lost in the first ones of a cell."""
    if not any(found["baseline"]["reached"] for found in saved.values()):
        return []
    spans = list(next(iter(saved.values()))["lost"])
    lost = [f"lost in the first {span}" for span in spans]
    rows = [
        [
            experiment.titles[arm],
            _format_steps(found["baseline"]),
            _format_steps(found["final"]),
            *(_format_lost_steps(found["lost"][span]) for span in spans),
        ]
        for arm, found in saved.items()
    ]
    return format_table(["arm", "to the baseline", "to 95 % of the gain", *lost], rows)


def format_measure_tables(measures: Mapping[str, Any]) -> list[str]:
    """By own step, a table with a row per measure; the smallest regret comes first."""
    lines = []
    for step, table in measures.items():
        lines += [f"Measures after {step} own steps: does a nearer source gain more?", ""]
        ranked = sorted(table.items(), key=lambda item: item[1]["regret"]["mean"])
        rows = [
            [measure, *(_format_entry(row[column]) for column in MEASURE_COLUMNS.values())]
            for measure, row in ranked
        ]
        lines += [*format_table(["measure", *MEASURE_COLUMNS], rows), ""]
    return lines


def format_auc_table(aucs: Mapping[str, Any]) -> list[str]:
    """How well each measure separates SLA groups; the best comes first."""
    ordered = sorted(aucs, key=lambda measure: -aucs[measure]["mean"])
    rows = [[measure, _format_entry(aucs[measure])] for measure in ordered]
    return format_table(["measure", "AUC: cells with the same SLA are nearer"], rows)


def make_terminal_table(summary: Mapping[str, Any]) -> Table:
    """A row per policy, the highest satisfaction last."""
    table = Table(title=f"{summary['experiment']}, {summary['seeds']} seeds")
    metrics = (*FINAL_METRICS, "reward_mean")
    for heading in ("policy", *metrics):
        table.add_column(heading, justify="left" if heading == "policy" else "right", no_wrap=True)
    for name, row in sorted(
        summary["policies"].items(), key=lambda item: item[1]["satisfaction_mean"]
    ):
        table.add_row(name, *(format_mean(row[m], row["ci95"][m]) for m in metrics))
    return table


def _format_steps(found: Mapping[str, Any]) -> str:
    median = "not reached" if found["median"] is None else f"{found['median']:.0f}"
    return f"{median} ({found['reached']} of {found['seeds']})"


def _format_lost_steps(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ""
    low, high = entry["ci95"] or (entry["mean"], entry["mean"])
    return f"{entry['mean']:+.0f} [{low:+.0f}, {high:+.0f}]"


def _format_entry(entry: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    if not entry or entry["mean"] is None:
        return ""
    return format_mean(entry["mean"], entry["ci95"], signed=signed)
