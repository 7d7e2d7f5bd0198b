"""The tables of an experiment's report, from its summary, as sections of a Markdown page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slicing_rllib.evaluation.figures import PAPER
from slicing_rllib.evaluation.tables import format_mean, format_table
from slicing_rllib.studies.study_configs import ExperimentConfig

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
GAINS = {
    "reward": "Reward − that of the traffic-aware baseline",
    "fail_rate_95": "Share below 0.95 − that of the traffic-aware baseline",
    "over_base_policy": "Reward − that of the base policy that the actor corrects",
}
"""Titles of the tables of `baseline_gains`."""
HOW = {
    "evaluated": "evaluated without noise",
    "while_learning": "while learning, with exploration and noise, as the paper counts it",
}
"""How the rewards in the tables of `gains` were counted."""
STEPS_SAVED = (
    "Steps of a cell, from its first step, default action included: the median until an evaluation "
    "reaches the traffic-aware baseline, and 95 % of what training from scratch gains in the end "
    "(in brackets the seeds that reach it); and steps per cell below 0.95 beyond those of the "
    "traffic-aware baseline:"
)
COSTS = (
    "Reward on unseen traffic after all steps of an arm, and the CPU seconds of its learning, "
    "evaluations not counted:"
)


def make_sections(summary: Mapping[str, Any], experiment: ExperimentConfig) -> dict[str, list[str]]:
    """By name, the lines of each table that the summary has numbers for, in the order of a page.

    Names are those of the summary's parts; `differences` are the paired differences of `policies`,
    and `baseline_gains` and `gains` have a section per metric, `measures` one per step.
    """
    titles, gains = experiment.titles, summary.get("gains", {})
    sections = {
        "policies": format_final_table(summary["policies"], experiment),
        "differences": format_difference_table(summary["policies"], experiment),
    }
    if "learnable_gap" in summary:
        gap = summary["learnable_gap"]
        heading = (
            f"share of the learnable gap closed (ceiling: {gap['ceiling_gain']:+.4f} of reward)"
        )
        rows = [[titles.get(name, name), _format(row)] for name, row in gap["closed"].items()]
        sections["learnable_gap"] = _make_table(["policy", heading], rows)
    for metric, what in GAINS.items():
        title = f"{what}, after own steps, without exploration noise:"
        table = _format_by_step(title, summary["baseline_gains"], metric, experiment)
        sections[f"baseline_gains/{metric}"] = table
    service, columns = summary["while_learning"], {"reward": "reward", "fail_rate_95": "below 0.95"}
    spans = list(next(iter(service.values())))
    rows = [
        [titles[arm], *(_format(found[span][column]) for span in spans for column in columns)]
        for arm, found in service.items()
    ]
    sections["while_learning"] = _make_table(
        ["arm", *(f"{title}, {span} steps" for span in spans for title in columns.values())],
        rows,
        "Service while the policies learn, exploration included:",
    )
    sections["steps_saved"] = format_steps_saved(summary["steps_saved"], experiment)
    over = titles.get(experiment.reference or "", "")
    for metric, how in HOW.items():
        title = f"Reward − that of {over} after equal numbers of own steps, {how}:"
        sections[f"gains/{metric}"] = _format_by_step(title, gains, metric, experiment)
    if "costs" in summary:
        sections["costs"] = format_cost_table(summary["costs"], experiment)
    aucs = sorted(summary.get("auc", {}).items(), key=lambda item: -item[1]["mean"])
    rows = [[measure, _format(row)] for measure, row in aucs]
    sections["auc"] = _make_table(["measure", "AUC: cells with the same SLA are nearer"], rows)
    for step, measures in summary.get("measures", {}).items():
        sections[f"measures/{step}"] = format_measure_table(step, measures)
    return {name: lines for name, lines in sections.items() if lines}


def format_final_table(policies: Mapping[str, Any], experiment: ExperimentConfig) -> list[str]:
    """A row per policy, with the paper's numbers where an arm is the paper's on its network."""
    has_papers_arms = bool(policies.keys() & (PAPER.keys() - {"traffic_aware"}))
    beside = has_papers_arms and experiment.is_on_papers_network
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
    return _make_table([*headings, "reward"], rows)


def format_difference_table(policies: Mapping[str, Any], experiment: ExperimentConfig) -> list[str]:
    """Paired differences: reference − traffic-aware baseline, and each arm − reference."""
    reference, titles = experiment.reference, experiment.titles
    pairs = [(arm, reference) for arm in experiment.arms if reference and arm != reference]
    if reference and "traffic_aware" in policies:
        pairs.insert(0, (reference, "traffic_aware"))
    rows = [
        [f"{titles[ours]} − {titles.get(str(theirs), theirs)}"]
        + [
            _format(policies[ours]["less"][theirs][metric], signed=True)
            for metric in DIFFERENCE_METRICS.values()
        ]
        for ours, theirs in pairs
    ]
    return _make_table(["paired difference", *DIFFERENCE_METRICS], rows)


def _format_by_step(
    title: str, found: Mapping[str, Any], metric: str, experiment: ExperimentConfig
) -> list[str]:
    """A row per arm, a column per number of own steps. Arms and steps without a value are left out;
    no lines where no arm has one."""
    known = [str(step) for step in experiment.shown_steps]
    shown = [step for step in known if any(step in steps for steps in found.values())]
    rows = [
        [
            experiment.titles[arm],
            *(_format(steps.get(s, {}).get(metric), signed=True) for s in shown),
        ]
        for arm, steps in found.items()
    ]
    filled = [row for row in rows if any(row[1:])]
    return _make_table(["arm", *(f"{step} steps" for step in shown)], filled, title)


def format_steps_saved(saved: Mapping[str, Any], experiment: ExperimentConfig) -> list[str]:
    """A row per arm: steps until each level, and steps lost in the first ones of a cell."""
    if not any(found["baseline"]["reached"] for found in saved.values()):
        return []
    spans = list(next(iter(saved.values()))["lost"])
    rows = []
    for arm, found in saved.items():
        reached = []
        for level in (found["baseline"], found["final"]):
            median = "not reached" if level["median"] is None else f"{level['median']:.0f}"
            reached.append(f"{median} ({level['reached']} of {level['seeds']})")
        lost = [_format(found["lost"][span], signed=True, digits=0) for span in spans]
        rows.append([experiment.titles[arm], *reached, *lost])
    headings = ["arm", "to the baseline", "to 95 % of the gain"]
    headings += [f"lost in the first {span}" for span in spans]
    return _make_table(headings, rows, STEPS_SAVED)


def format_cost_table(costs: Mapping[str, Any], experiment: ExperimentConfig) -> list[str]:
    """A row per arm, the highest reward first."""
    ranked = sorted(costs.items(), key=lambda item: -item[1]["evaluated"]["mean"])
    rows = [
        [
            experiment.titles[arm],
            f"{found['step']['mean']:.0f}",
            _format(found["cpu_s"], digits=0),
            f"{found['steps_per_cpu_s']['mean']:.1f}",
            _format(found["evaluated"]),
        ]
        for arm, found in ranked
    ]
    headings = [
        "arm",
        "environment steps",
        "CPU seconds",
        "steps per CPU second",
        "reward",
    ]
    return _make_table(headings, rows, COSTS)


def format_measure_table(step: str, measures: Mapping[str, Any]) -> list[str]:
    """A row per measure; the smallest regret comes first."""
    ranked = sorted(measures.items(), key=lambda item: item[1]["regret"]["mean"])
    rows = [[name, *(_format(row[c]) for c in MEASURE_COLUMNS.values())] for name, row in ranked]
    title = f"Measures after {step} own steps: does a nearer source gain more?"
    return _make_table(["measure", *MEASURE_COLUMNS], rows, title)


def join_sections(sections: Iterable[Iterable[str]]) -> str:
    """Sections as text, with an empty line between them."""
    return "\n\n".join("\n".join(lines) for lines in sections)


def _make_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], title: str = ""
) -> list[str]:
    """The lines of a table, under its title if it has one; no lines without rows."""
    if not rows:
        return []
    return [*([title, ""] if title else []), *format_table(headings, rows)]


def _format(entry: Mapping[str, Any] | None, *, signed: bool = False, digits: int = 3) -> str:
    if not entry:
        return ""
    return format_mean(entry["mean"], entry["ci95"], signed=signed, digits=digits)
