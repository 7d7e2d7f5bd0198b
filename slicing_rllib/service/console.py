"""Output in a terminal: progress on stderr, tables and JSON on stdout."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from slicing_rllib.service.runs.progress import ProgressListener
from slicing_rllib.storage import make_printable
from slicing_rllib.storage.regular_file import format_size

out = Console(width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True)
HEADINGS = ("reward", "95 % interval", "satisfaction", "below 0.95", "max delay", "gap closed")
LINE_EVERY_STEPS = 500
"""Without a terminal there is no progress bar; a line is printed after so many steps instead."""


class ProgressBar(ProgressListener):
    """A bar with steps per second and the reward beside what baseline and oracle get."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=err,
            disable=not err.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._rate = 0.0
        self._last: tuple[int, float] | None = None

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._bar.stop()

    def on_message(self, text: str) -> None:
        err.print(make_printable(text), highlight=False, markup=False, soft_wrap=True)

    def on_iteration(self, row: dict[str, Any], total_steps: int) -> None:
        steps = row["env_steps"]
        note = f"{self._steps_per_s(steps, row['time_s']):.0f} steps/s  {_reward_note(row)}"
        self._show("training", steps, total_steps, note)
        if not err.is_terminal and (steps % LINE_EVERY_STEPS == 0 or steps >= total_steps):
            self.on_message(f"step {steps} of {total_steps}  {note}")

    def on_rollout(self, policy: str, done: int, total: int) -> None:
        self._show("evaluating", done, total, policy)

    def _show(self, what: str, done: int, total: int, note: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total, note="")
        self._bar.update(self._tasks[what], completed=done, total=total, note=note)

    def _steps_per_s(self, steps: int, time_s: float) -> float:
        if self._last is not None and time_s > self._last[1]:
            self._rate = (steps - self._last[0]) / (time_s - self._last[1])
        self._last = (steps, time_s)
        return self._rate


def make_policies_table(policies: Mapping[str, Mapping[str, Any]]) -> Table:
    """The result table: one row per policy, best reward last.

    Args:
        policies: the `policies` of a `summary.json`.
    """
    seeds = {row["seeds"] for row in policies.values()}
    table = Table(title=f"evaluation on unseen traffic, {'/'.join(map(str, seeds))} seeds")
    table.add_column("policy", no_wrap=True)
    for heading in HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in sorted(policies.items(), key=lambda item: item[1]["reward_mean"]):
        interval = row["ci95"].get("reward_mean")
        closed = row["oracle_gap_closed"]
        table.add_row(
            name,
            f"{row['reward_mean']:.3f}",
            f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
            f"{row['satisfaction_mean']:.3f}",
            f"{row['fail_rate_95']:.1%}",
            f"{row['delay_max_ms']:.2f} ms",
            "" if closed is None else f"{closed:.0%}",
        )
    return table


def make_sweep_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The table of a sweep's trials, in the given order, which is best first."""
    table = Table(title=f"{len(rows)} trials")
    keys = list(rows[0]["settings"]) if rows else []
    for heading in ("trial", *keys, "value", "env steps", "state"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        chosen = [show(format_value(row["settings"].get(key, "")), 40) for key in keys]
        table.add_row(
            row["trial_id"],
            *chosen,
            format_number(row["value"]),
            str(row["env_steps"]),
            "[bold red]failed[/]" if row["error"] else "",
        )
    return table


def make_checks_table(checks: Sequence[Any]) -> Table:
    """The table of a cluster's checks, one row per check."""
    table = Table()
    for heading in ("check", "ok"):
        table.add_column(heading, no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in checks:
        table.add_row(check.name, "yes" if check.ok else "[bold red]NO[/]", show(check.found))
    return table


def make_distances_table(result: Mapping[str, Any]) -> Table:
    """Distances with one row per source and one column per target, the nearest source in bold."""
    auc = "" if result["auc"] is None else f", AUC of SLA groups {result['auc']:.2f}"
    table = Table(title=f"{result['measure']} distance of source (row) from target (column){auc}")
    cells = result["cells"]
    table.add_column("", no_wrap=True)
    for cell in cells:
        table.add_column(cell.removeprefix("cell_"), justify="right", no_wrap=True)
    for source, row in zip(cells, result["distances"], strict=True):
        nearest = [result["nearest"][target] == source for target in cells]
        figures = [
            f"[bold]{d:.2g}[/]" if n else f"{d:.2g}" for d, n in zip(row, nearest, strict=True)
        ]
        table.add_row(source, *figures)
    return table


def make_library_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The table of a policy library, one row per bundle."""
    table = Table(title=f"{len(rows)} bundles")
    for heading in ("bundle", "versions", "reward", "slices", "transitions", "run", "cell"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        origin = row["provenance"]
        table.add_row(
            show(row["name"]),
            show(" ".join(map(str, row["versions"])), 40),
            format_number(row["returns"].get("evaluation_reward_mean")),
            str(len(row["slices"])),
            str(row["transitions"]),
            show(origin.get("run", ""), 64),
            show(origin.get("cell", ""), 64),
        )
    return table


def make_checkpoints_table(reports: Sequence[Any]) -> Table:
    """The table of a run's checkpoints, one row per `CheckpointReport`."""
    table = Table(title=f"{len(reports)} checkpoints")
    for heading in ("checkpoint", "step", "size", "format"):
        table.add_column(heading, no_wrap=True)
    table.add_column("state", overflow="fold")
    for report in reports:
        table.add_row(
            show(report.path.name),
            "" if report.env_steps is None else str(report.env_steps),
            format_size(report.bytes),
            "" if report.format is None else str(report.format),
            "[bold red]" + show(report.problem) + "[/]" if report.problem else "valid",
        )
    return table


def make_drill_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """The table of a drill: one row per kind of fault."""
    table = Table(title=f"{len(rows)} kinds of faults")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(show(cell) for cell in row))
    return table


def pretraining_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row per unseen network: rewards, and the share of (cell, step) below 0.95."""
    table = Table(title=f"networks that no training has seen, {rows[0]['seeds']} seeds each")
    table.add_column("network", no_wrap=True)
    for heading in ("traffic_aware", "persistence", "pretrained", "gain", "below 0.95"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        rewards = {name: row[name]["reward_mean"] for name in ("traffic_aware", "persistence")}
        own = row["pretrained"]
        below = row["traffic_aware"]["fail_rate_95"]
        table.add_row(
            row["network"],
            f"{rewards['traffic_aware']:.3f}",
            f"{rewards['persistence']:.3f}",
            f"{own['reward_mean']:.3f}",
            f"{own['reward_mean'] - rewards['traffic_aware']:+.3f}",
            f"{below:.1%} → {own['fail_rate_95']:.1%}",
        )
    return table


def show(text: Any, limit: int = 300) -> str:
    """Text of unknown origin for a table: in one line, without control characters or markup."""
    return escape(make_printable(str(text), limit))


def print_json(result: Any) -> None:
    """Prints a result as indented JSON on stdout."""
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def print_json_line(row: Mapping[str, Any]) -> None:
    """Prints one line of JSON on stdout at once, for readers that wait for it."""
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def format_value(value: Any) -> str:
    """A setting or result for a table; floats get four significant digits."""
    return format_number(value) if isinstance(value, float) else str(value)


def format_number(value: float | None) -> str:
    """The number with four significant digits; an empty string for None and NaN."""
    return "" if value is None or value != value else f"{value:.4g}"


def _reward_note(row: Mapping[str, Any]) -> str:
    references = row["references"]
    beside = "  ".join(f"{name} {level:.3f}" for name, level in references.items())
    return f"reward {row['reward_mean']:.3f}  ({beside})"
