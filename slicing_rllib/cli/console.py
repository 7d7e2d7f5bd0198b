"""Output in a terminal: tables and JSON on stdout.

Arguments and options that several commands share.

Progress of training and evaluation in a terminal, on stderr.
"""

import json
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from slicing_rllib.learning.events import EventKind
from slicing_rllib.runs.training import ProgressListener
from slicing_rllib.storage import make_printable
from slicing_rllib.storage.regular_file import format_size

out = Console(width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True)
HEADINGS = ("reward", "95 % interval", "satisfaction", "below 0.95", "max delay", "gap closed")


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


HOURLY_POLICIES = ("equal", "traffic_aware", "persistence", "drl", "tl", "oracle")
"""Policies that the table by hour of day shows. `summary.json` has all of them."""
MAX_HOURLY_POLICIES = 6
"""Columns that fit a terminal, where none of those policies was evaluated."""


def make_hours_table(hours: Mapping[str, Any]) -> Table:
    """Reward and share below 0.95 of each hour of the day, a column per policy.

    Args:
        hours: the `hours` of a `summary.json`.
    """
    by_hour, busy = hours["by_hour"], hours["busy_hour"]
    evaluated = list(by_hour[str(busy)])
    chosen = [name for name in HOURLY_POLICIES if name in evaluated]
    names = chosen or evaluated[:MAX_HOURLY_POLICIES]
    table = Table(title="by hour of the day: reward, and share below 0.95")
    table.add_column("hour", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for hour, rows in by_hour.items():
        figures = [f"{rows[n]['reward_mean']:.3f}  {rows[n]['fail_rate_95']:5.1%}" for n in names]
        is_busy = int(hour) == busy
        table.add_row(f"{int(hour):02d}:00{' busy' if is_busy else ''}", *figures,
                      style="bold" if is_busy else None)  # fmt: skip
    return table


def make_sweep_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The table of a sweep's trials, in the given order, which is best first.

    Settings that all trials share stand in the caption, and the others under the last part of their
    names where that is enough, so that the table fits a terminal.
    """
    keys = list(rows[0]["settings"]) if rows else []
    varied = [key for key in keys if len({str(row["settings"].get(key)) for row in rows}) > 1]
    shared = [
        f"{key} {format_value(rows[0]['settings'][key])}" for key in keys if key not in varied
    ]
    errors = [f"{row['trial_id']}: {show(row['error'])}" for row in rows if row["error"]]
    table = Table(
        title=f"{len(rows)} trials",
        caption="\n".join([*([escape(f"all: {', '.join(shared)}")] if shared else []), *errors])
        or None,
        caption_justify="left",
    )
    table.add_column("trial", no_wrap=True)
    for heading in (*shorten_keys(varied), "value", "env steps"):
        table.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        chosen = [format_value(row["settings"].get(key, "")) for key in varied]
        failed = " failed" if row["error"] else ""
        table.add_row(
            f"{row['trial_id']}{failed}",
            *chosen,
            format_number(row["value"]),
            str(row["env_steps"]),
        )
    return table


def shorten_keys(keys: Sequence[str]) -> list[str]:
    """The last part of each dotted name, or the whole name where several end alike."""
    last = [key.rpartition(".")[2] for key in keys]
    return [short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)]


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


Json = Annotated[
    bool, typer.Option("--json", help="Prints the result as JSON, and nothing else, on stdout.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Overrides one setting of the config. May be repeated."
    ),
]
Config = Annotated[
    str,
    typer.Argument(help="A YAML file, or a built-in name: paper or quick.", metavar="CONFIG"),
]
Run = Annotated[Path, typer.Argument(help="A run directory, as train writes it.", metavar="RUN")]


LINE_EVERY_STEPS = 500
"""Steps that a shown mean is over. Without a terminal, a line is printed after so many steps."""
WAITING_LINE_EVERY_S = 20.0
"""Without a terminal, time between two lines about an outage."""
SILENT_EVENTS = frozenset(
    {EventKind.STARTED, EventKind.RESUMED, EventKind.FINISHED, EventKind.INTERRUPTED}
)
"""Kinds of events that have no line of their own: others say the same."""


class _Interval(NamedTuple):
    """An iteration's part of a mean."""

    steps: int
    reward: float
    same_steps: dict[str, float]


class ProgressBar(ProgressListener):
    """A bar with steps per second, and the mean reward beside what other splits would have got."""

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
        self._recent: deque[_Interval] = deque()
        self._waited_s = 0.0

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._bar.stop()

    def on_message(self, text: str) -> None:
        err.print(make_printable(text), highlight=False, markup=False, soft_wrap=True)

    def on_event(self, kind: str, cell: str | None, message: str, env_step: int) -> None:
        if kind not in SILENT_EVENTS:
            about = f"{cell}: " if cell and not message.startswith(cell) else ""
            self.on_message(f"step {env_step}  {kind.replace('_', ' ')}: {about}{message}")

    def on_iteration(self, row: dict[str, Any], total_steps: int) -> None:
        steps = row["env_steps"]
        if row["reward_mean"] is None:
            return
        self._waited_s = 0.0
        self._add_interval(row)
        note = f"{self._steps_per_s(steps, row['time_s']):.0f} steps/s  {self._describe_reward()}"
        self._show("training", steps, total_steps, note)
        if not err.is_terminal and (steps % LINE_EVERY_STEPS == 0 or steps >= total_steps):
            self.on_message(f"step {steps} of {total_steps}  {note}")
        if "evaluation_reward_mean" in row:
            self._show_evaluation(row)

    def on_wait(self, waited_s: float, limit_s: float) -> None:
        note = f"waiting for env runners, {waited_s:.0f} s of {limit_s:.0f}"
        if "training" in self._tasks:
            self._bar.update(self._tasks["training"], note=note)
        if not err.is_terminal and waited_s >= self._waited_s:
            self.on_message(note)
            self._waited_s = waited_s + WAITING_LINE_EVERY_S

    def on_rollout(self, policy: str, done: int, total: int) -> None:
        self._show("evaluating", done, total, policy)

    def _add_interval(self, row: dict[str, Any]) -> None:
        """Remembers the iteration, and as many before it as a shown mean is over."""
        if self._last is not None and row["env_steps"] < self._last[0]:
            self._recent.clear()  # The run from scratch begins at an earlier step.
        self._recent.append(_Interval(row["steps"], row["reward_mean"], row["same_steps"]))
        while sum(each.steps for each in self._recent) - self._recent[0].steps >= LINE_EVERY_STEPS:
            self._recent.popleft()

    def _describe_reward(self) -> str:
        steps = sum(each.steps for each in self._recent) or 1
        mean = sum(each.steps * each.reward for each in self._recent) / steps
        names = self._recent[-1].same_steps
        known = [name for name in names if all(name in each.same_steps for each in self._recent)]
        beside = "  ".join(
            f"{name} {sum(each.steps * each.same_steps[name] for each in self._recent) / steps:.3f}"
            for name in known
        )
        same = f"  (same steps: {beside})" if beside else ""
        return f"reward {mean:.3f} over {steps} steps{same}"

    def _show_evaluation(self, row: dict[str, Any]) -> None:
        """A line for each point of the learning curve, with baselines on the same traffic."""
        beside = "  ".join(f"{name} {level:.3f}" for name, level in row["references"].items())
        self.on_message(
            f"step {row['env_steps']}  evaluated without noise: "
            f"{row['evaluation_reward_mean']:.3f}  (same traffic: {beside})"
        )

    def _show(self, what: str, done: int, total: int, note: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total, note="")
        self._bar.update(self._tasks[what], completed=done, total=total, note=note)

    def _steps_per_s(self, steps: int, time_s: float) -> float:
        if self._last is not None and time_s > self._last[1] and steps >= self._last[0]:
            self._rate = (steps - self._last[0]) / (time_s - self._last[1])
        self._last = (steps, time_s)
        return self._rate
