"""Tables of runs as files: Markdown to read, CSV to compute with."""

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
from slicing_rllib.service.runs.run_directory import RunDirectory, write_atomically

COLUMNS = (*METRICS, "oracle_gap_closed")
SUMMARY_ROLE = 4
"""Spawn key of the bootstrap of a report."""

Policies = dict[str, dict[str, Any]]


class Report(NamedTuple):
    policies: Policies
    files: list[Path]


def write_report(runs: Sequence[RunDirectory], out: Path | None) -> Report:
    """One run: its own table and figures. Several: each run is one seed of the table.

    Raises: RunError for a run that has not finished, or several runs without `out`.
    """
    summaries = [run.summary() for run in runs]
    if len(runs) == 1:
        policies, folder = summaries[0]["policies"], out or runs[0].path
        figures = draw_run(runs[0], (out or runs[0].path) / "figures")
    elif out is None:
        raise RunError("report of several runs: expected --out DIR")
    else:
        policies, folder, figures = over_runs(summaries), out, []
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"report.md": markdown(policies), "report.csv": as_csv(policies)}
    for name, text in tables.items():
        write_atomically(folder / name, text.encode())
    return Report(policies, [*(folder / name for name in tables), *figures])


def over_runs(summaries: Sequence[Mapping[str, Any]]) -> Policies:
    """Policies that all runs have, a run being a seed."""
    shared = [
        name for name in summaries[0]["policies"] if all(name in s["policies"] for s in summaries)
    ]
    per_seed = {
        name: np.array([[s["policies"][name][m] for m in METRICS] for s in summaries])
        for name in shared
    }
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(SUMMARY_ROLE,)))
    return {name: asdict(row) for name, row in summarise_seeds(per_seed, rng).items()}


def markdown(policies: Mapping[str, Mapping[str, Any]]) -> str:
    """A table with means and, in brackets, 95 % intervals."""
    lines = [
        f"| policy | {' | '.join(COLUMNS)} | seeds |",
        "| --- " * (len(COLUMNS) + 2) + "|",
    ]
    for name, row in policies.items():
        values = " | ".join(_with_interval(row, column) for column in COLUMNS)
        lines.append(f"| {name} | {values} | {row['seeds']} |")
    return "\n".join(lines) + "\n"


def as_csv(policies: Mapping[str, Mapping[str, Any]]) -> str:
    """policy, metric, mean, low, high, seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["policy", "metric", "mean", "ci95_low", "ci95_high", "seeds"])
    for name, row in policies.items():
        for column in COLUMNS:
            low, high = row["ci95"].get(column) or ("", "")
            writer.writerow([name, column, row[column], low, high, row["seeds"]])
    return text.getvalue()


def _with_interval(row: Mapping[str, Any], column: str) -> str:
    value, interval = row[column], row["ci95"].get(column)
    if value is None:
        return ""
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
