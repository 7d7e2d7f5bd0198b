"""Tables of a report: numbers of its summary, in Markdown and in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from slicing_rllib.evaluation.paper_numbers import PAPER
from slicing_rllib.service.experiments.config import ExperimentConfig

PAPER_ARMS = {"drl", "tl"}
SHOWN = ("satisfaction_mean", "fail_rate_95", "delay_max_ms", "reward_mean")
GAINS = (
    ("evaluated", "evaluated without noise"),
    ("while_learning", "while learning, noise and exploration included, as the paper counts"),
)


def final_lines(summary: dict[str, Any], experiment: ExperimentConfig) -> list[str]:
    """Beside the paper's numbers where an arm is one of the paper's, on the paper's network."""
    policies, titles = summary["policies"], experiment.titles
    beside = bool(policies.keys() & PAPER_ARMS) and experiment.on_papers_network
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


def difference_lines(policies: dict[str, Any], experiment: ExperimentConfig) -> list[str]:
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


def gain_lines(
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


def measure_lines(measures: dict[str, Any]) -> list[str]:
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


def auc_lines(aucs: Mapping[str, Any]) -> list[str]:
    """Which measures tell SLA groups apart, the best first."""
    ordered = sorted(aucs, key=lambda measure: -aucs[measure]["mean"])
    return [
        "| measure | AUC: cells with equal promises are nearer |",
        "| --- | --- |",
        *(f"| {measure} | {_brief(aucs[measure])} |" for measure in ordered),
    ]


def terminal_table(summary: dict[str, Any]) -> Table:
    table = Table(title=f"{summary['experiment']}, {summary['seeds']} seeds")
    for heading in ("policy", *SHOWN):
        table.add_column(heading, justify="left" if heading == "policy" else "right", no_wrap=True)
    for name, row in sorted(
        summary["policies"].items(), key=lambda item: item[1]["satisfaction_mean"]
    ):
        table.add_row(name, *(_with_interval(row, metric) for metric in SHOWN))
    return table


def _signed(entry: dict[str, Any]) -> str:
    interval = entry["ci95"]
    shown = f" [{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else ""
    return f"{entry['mean']:+.3f}{shown}"


def _with_interval(row: dict[str, Any], metric: str) -> str:
    return _brief({"mean": row[metric], "ci95": row["ci95"][metric]})


def _brief(entry: dict[str, Any] | None) -> str:
    if not entry or entry["mean"] is None:
        return ""
    interval = entry["ci95"]
    shown = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return f"{entry['mean']:.3f}{shown}"
