"""Reports of runs: tables as Markdown and CSV, and figures."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from slicing_rllib.evaluation.statistics import METRICS, summarise_seeds
from slicing_rllib.service.errors import RunError
from slicing_rllib.service.runs.figures import draw_run
from slicing_rllib.service.runs.markdown import format_mean, format_table
from slicing_rllib.service.runs.run_directory import RunDirectory
from slicing_rllib.storage import write_durably

COLUMNS = (*METRICS, "oracle_gap_closed")

Policies = dict[str, dict[str, Any]]
"""By policy, its row as in `summary.json`."""


class Report(NamedTuple):
    """What was written."""

    policies: Policies
    files: list[Path]


def write_report(runs: Sequence[RunDirectory], out: Path | None) -> Report:
    """Writes `report.md`, `report.csv` and, for one run, its figures.

    Several runs become one table in which each run is a seed. `out` is the folder to write to, by
    default that of the only run. Raises: RunError for a run that has not finished, or for several
    runs without `out`.
    """
    summaries = [run.summary() for run in runs]
    if len(runs) == 1:
        policies, folder = summaries[0]["policies"], out or runs[0].path
        figures = draw_run(runs[0], folder / "figures")
    elif out is None:
        raise RunError("report of several runs: expected --out DIR")
    else:
        policies, folder, figures = summarise_runs(summaries), out, []
    folder.mkdir(parents=True, exist_ok=True)
    hours = summaries[0].get("hours") if len(runs) == 1 else None
    text = format_markdown(policies) + ("" if hours is None else "\n" + format_hours(hours))
    tables = {"report.md": text, "report.csv": format_csv(policies)}
    for name, text in tables.items():
        write_durably(folder / name, text.encode())
    return Report(policies, [*(folder / name for name in tables), *figures])


def summarise_runs(summaries: Sequence[Mapping[str, Any]]) -> Policies:
    """The policies that all runs have, summarised with each run as one seed."""
    shared = [
        name for name in summaries[0]["policies"] if all(name in s["policies"] for s in summaries)
    ]
    per_seed = {
        name: np.array([[s["policies"][name][m] for m in METRICS] for s in summaries])
        for name in shared
    }
    return {name: asdict(row) for name, row in summarise_seeds(per_seed).items()}


def format_markdown(policies: Mapping[str, Mapping[str, Any]]) -> str:
    """A table with means and, in brackets, 95 % intervals."""
    rows = [
        [name, *(format_mean(row[c], row["ci95"].get(c)) for c in COLUMNS), str(row["seeds"])]
        for name, row in policies.items()
    ]
    return "\n".join(format_table(["policy", *COLUMNS, "seeds"], rows)) + "\n"


def format_hours(hours: Mapping[str, Any]) -> str:
    """A table by hour of the day: each policy's reward and, after a slash, share below 0.95."""
    names = list(hours["by_hour"][str(hours["busy_hour"])])
    rows = [
        [
            f"{int(hour):02d}:00{' (busy hour)' if int(hour) == hours['busy_hour'] else ''}",
            *(f"{row[n]['reward_mean']:.3f} / {row[n]['fail_rate_95']:.1%}" for n in names),
        ]
        for hour, row in hours["by_hour"].items()
    ]
    return "\n".join(format_table(["hour", *names], rows)) + "\n"


def format_csv(policies: Mapping[str, Mapping[str, Any]]) -> str:
    """Columns policy, metric, mean, ci95_low, ci95_high, seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["policy", "metric", "mean", "ci95_low", "ci95_high", "seeds"])
    for name, row in policies.items():
        for column in COLUMNS:
            low, high = row["ci95"].get(column) or ("", "")
            writer.writerow([name, column, row[column], low, high, row["seeds"]])
    return text.getvalue()
