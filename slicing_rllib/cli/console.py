"""What commands share: output on stdout as tables or JSON, options, and progress on stderr."""

import json
import math
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from typer import Argument, Option

from slicing_rllib.policies.events import EventKind
from slicing_rllib.runs.progress import ProgressListener
from slicing_rllib.storage import make_printable, require_writable
from slicing_rllib.storage.errors import RunError
from slicing_rllib.storage.foreign_files import format_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from slicing_rllib.runs.run_directory import RunDirectory

stdout = Console(width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True)

Json = Annotated[
    bool, Option("--json", help="Prints the result as JSON, and nothing else, on stdout.")
]
Settings = Annotated[
    list[str] | None,
    Option(
        "--set", metavar="KEY=VALUE", help="Overrides one setting of the config. May be repeated."
    ),
]
Config = Annotated[
    str,
    Argument(
        help="A YAML file, or a built-in name: first_run, recommended, paper or quick.",
        metavar="CONFIG",
    ),
]
Library = Annotated[
    str,
    Argument(
        metavar="LIBRARY", help="The policy library: a folder, or a URI such as s3://bucket/path."
    ),
]
Version = Annotated[
    int | None, Option("--version", min=1, help="Version of the bundles. Default: the newest.")
]
Run = Annotated[Path, Argument(help="A run directory, as train writes it.", metavar="RUN")]


def name_folder(parent: str, name: str) -> Path:
    """PARENT/NAME-DATE-TIME, where a command writes to by default."""
    return Path(parent) / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def open_run(path: Path) -> "RunDirectory":
    """The run that a command is about. Raises: RunError for anything but a run directory."""
    from slicing_rllib.runs.run_directory import RunDirectory

    return RunDirectory.open(path)


@contextmanager
def explain_missing_packages(command: str, extra: str = "serve") -> Iterator[None]:
    """Says of an import that fails which extra brings the package. Raises: RunError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise RunError(
            f'{command}: the package {error.name} is missing; pip install "slicing-rllib[{extra}]"'
        ) from error


@contextmanager
def explain_unwritable(path: Path, what: str) -> Iterator[None]:
    """Raises: RunError instead of an error about writing `what` to a path."""
    try:
        yield
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise RunError(f"{path}: cannot write {what} ({why})") from error


def save_picture(figure: "Figure", path: Path) -> None:
    """Writes a figure in the format that the name ends with. Raises: RunError."""
    with explain_unwritable(path, "the picture"):
        require_writable(path)
        figure.savefig(path, dpi=150)


def print_result(result: Any, as_json: bool, *shown: Table | str) -> None:
    """Prints a result of a command: as JSON alone, or the tables and lines that show it."""
    if as_json:
        print_json(result)
        return
    for part in shown:
        typer.echo(part) if isinstance(part, str) else stdout.print(part)


def print_summary(summary: Mapping[str, Any], as_json: bool, *more: str) -> None:
    """Prints the `policies`, `hours` and findings of a `summary.json`, and further lines."""
    tables = [make_policies_table(summary["policies"])]
    if "hours" in summary:
        tables.append(make_hours_table(summary["hours"]))
    if summary.get("differences"):
        tables.append(make_differences_table(summary["differences"]))
    print_result(summary, as_json, *tables, *summary.get("findings", ()), *more)


def print_line(result: Any) -> None:
    """Prints JSON in one line, for readers of JSON lines."""
    print_json(result, indent=None)


def print_text(text: str) -> None:
    """Prints text that is the result itself, such as a log or a schema."""
    sys.stdout.write(text)
    sys.stdout.flush()


def print_json(result: Any, indent: int | None = 2) -> None:
    """Prints JSON on stdout at once; without indent in one line, for readers of JSON lines."""
    text = json.dumps(_without_non_finite(result), indent=indent, allow_nan=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _without_non_finite(value: Any) -> Any:
    """The value with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_non_finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_non_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_url(url: str, as_json: bool) -> None:
    """Prints where a server that runs until Ctrl-C answers."""
    if as_json:
        print_json({"url": url}, indent=None)
    else:
        stdout.print(f"{url}  (Ctrl-C ends the server)")


def print_message(text: str) -> None:
    """Prints a line for the user on stderr."""
    err.print(make_printable(text), highlight=False, markup=False, soft_wrap=True)


def show(text: Any, limit: int = 300) -> str:
    """Text of unknown origin for a table: in one line, without control characters or markup."""
    return escape(make_printable(str(text), limit))


def format_number(value: float | None) -> str:
    """The number with four significant digits; an empty string for None and NaN."""
    return "" if value is None or value != value else f"{value:.4g}"


def make_table(
    title: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: bool = False,
    folded: Sequence[str] = (),
) -> Table:
    """A table; `numbers` aligns all columns but the first to the right, `folded` may break."""
    table = Table(title=title or None)
    for index, heading in enumerate(headings):
        justify = "right" if numbers and index else "left"
        may_break = heading in folded
        table.add_column(
            heading,
            justify=justify,
            no_wrap=not may_break,
            overflow="fold" if may_break else "ellipsis",
        )
    for row in rows:
        table.add_row(*row)
    return table


def make_policies_table(policies: Mapping[str, Mapping[str, Any]]) -> Table:
    """The `policies` of a `summary.json`: one row per policy, best reward last."""

    def make_row(name: str) -> tuple[str, ...]:
        row = policies[name]
        interval, closed = row["ci95"].get("reward_mean"), row["oracle_gap_closed"]
        return (
            name,
            f"{row['reward_mean']:.3f}",
            f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
            f"{row['satisfaction_mean']:.3f}",
            f"{row['fail_rate_95']:.1%}",
            f"{row['delay_max_ms']:.2f} ms",
            "" if closed is None else f"{closed:.0%}",
        )

    seeds = "/".join(map(str, {row["seeds"] for row in policies.values()}))
    return make_table(
        f"evaluation on unseen traffic, {seeds} seeds",
        ("policy", "reward", "95 % interval", "satisfaction", "below 0.95", "max delay",
         "gap closed"),
        map(make_row, sorted(policies, key=lambda name: policies[name]["reward_mean"])),
        numbers=True,
    )  # fmt: skip


def make_differences_table(differences: Sequence[Mapping[str, Any]]) -> Table:
    """The `differences` of a `summary.json`, one row per pair of policies."""

    def format_difference(found: Mapping[str, Any], scale: float, digits: int) -> str:
        mean, interval = found["mean"], found["ci95"]
        shown = "" if interval is None else " [{:+.{d}f}, {:+.{d}f}]".format(
            *(scale * end for end in interval), d=digits)  # fmt: skip
        return f"{scale * mean:+.{digits}f}{shown}"

    return make_table(
        "paired differences, seed by seed on the same traffic",
        ("policy − policy", "cells", "reward", "points below 0.95"),
        (
            (
                f"{each['ours']} − {each['theirs']}",
                "all" if each["cells"] is None else show(", ".join(each["cells"]), 40),
                format_difference(each["reward"], 1.0, 3),
                format_difference(each["fail_rate_95"], 100.0, 1),
            )
            for each in differences
        ),
        numbers=True,
    )


def is_shown_by_hour(policy: str) -> bool:
    """Whether the table by hour of day shows a policy. `summary.json` has all of them."""
    from slicing_rllib.policies.td3_settings import TRAINED_POLICIES

    known = ("equal", "traffic_aware", "smoothed_persistence", "oracle")
    return policy in (*known, *TRAINED_POLICIES)


MAX_HOURLY_POLICIES = 6
"""Columns that fit a terminal, where none of those policies was evaluated."""


def make_hours_table(hours: Mapping[str, Any]) -> Table:
    """The `hours` of a `summary.json`: reward and share below 0.95, a column per policy."""
    from slicing_rllib.evaluation.tables import make_hour_rows

    evaluated = list(hours["by_hour"][str(hours["busy_hour"])])
    chosen = [name for name in evaluated if is_shown_by_hour(name)]
    names = chosen or evaluated[:MAX_HOURLY_POLICIES]
    title = "by hour of the day: reward, and share below 0.95"
    return make_table(title, ("hour", *names), make_hour_rows(hours, names), numbers=True)


def make_sweep_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The table of a sweep's trials, in the given order, which is best first.

    Settings that all trials share stand in the caption, and the others under the last part of their
    names where that is enough, so that the table fits a terminal.
    """

    def format_value(value: Any) -> str:
        return format_number(value) if isinstance(value, float) else str(value)

    keys = list(rows[0]["settings"]) if rows else []
    varied = [key for key in keys if len({str(row["settings"].get(key)) for row in rows}) > 1]
    shared = [
        f"{key} {format_value(rows[0]['settings'][key])}" for key in keys if key not in varied
    ]
    last = [key.rpartition(".")[2] for key in varied]
    names = [s if last.count(s) == 1 else key for key, s in zip(varied, last, strict=True)]
    headings = (*names, "value", "env steps")
    table = make_table(
        f"{len(rows)} trials",
        ("trial", *headings),
        (
            (
                f"{row['trial_id']}{' failed' if row['error'] else ''}",
                *(format_value(row["settings"].get(key, "")) for key in varied),
                format_number(row["value"]),
                str(row["env_steps"]),
            )
            for row in rows
        ),
        numbers=True,
        folded=headings,
    )
    caption = [escape(f"all: {', '.join(shared)}")] if shared else []
    caption += [f"{row['trial_id']}: {show(row['error'])}" for row in rows if row["error"]]
    table.caption, table.caption_justify = "\n".join(caption) or None, "left"
    return table


def make_checkpoints_table(reports: Sequence[Any]) -> Table:
    """The table of a run's checkpoints, one row per `CheckpointReport`."""
    return make_table(
        f"{len(reports)} checkpoints",
        ("checkpoint", "step", "size", "format", "state"),
        (
            (
                show(report.path.name),
                "" if report.env_steps is None else str(report.env_steps),
                format_size(report.bytes),
                "" if report.format is None else str(report.format),
                "[bold red]" + show(report.problem) + "[/]" if report.problem else "valid",
            )
            for report in reports
        ),
        folded=("state",),
    )


LINE_EVERY_STEPS = 500
"""Steps that a shown mean is over, and without a terminal the steps between two lines."""
WAITING_LINE_EVERY_S = 20.0
"""Without a terminal, time between two lines about an outage."""
SILENT_EVENTS = frozenset(
    {EventKind.STARTED, EventKind.RESUMED, EventKind.FINISHED, EventKind.INTERRUPTED}
)
"""Kinds of events that have no line of their own: others say the same."""


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
        self._recent: deque[dict[str, Any]] = deque()
        """Rows of the iterations that a shown mean is over."""
        self._waited_s = 0.0

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._bar.stop()

    def on_message(self, text: str) -> None:
        print_message(text)

    def on_event(self, kind: str, cell: str | None, message: str, env_step: int) -> None:
        if kind not in SILENT_EVENTS:
            about = f"{cell}: " if cell and not message.startswith(cell) else ""
            self.on_message(f"step {env_step}  {kind.replace('_', ' ')}: {about}{message}")

    def on_iteration(self, row: dict[str, Any], total_steps: int) -> None:
        if row["reward_mean"] is None:
            return
        steps, time_s, self._waited_s = row["env_steps"], row["time_s"], 0.0
        if self._recent and steps < self._recent[-1]["env_steps"]:
            self._recent.clear()  # The run from scratch begins at an earlier step.
        elif self._recent and time_s > self._recent[-1]["time_s"]:
            last = self._recent[-1]
            self._rate = (steps - last["env_steps"]) / (time_s - last["time_s"])
        self._recent.append(row)
        while sum(r["steps"] for r in self._recent) - self._recent[0]["steps"] >= LINE_EVERY_STEPS:
            self._recent.popleft()
        note = f"{self._rate:.0f} steps/s  {self._describe_reward()}"
        self._show("training", steps, total_steps, note)
        if not err.is_terminal and (steps % LINE_EVERY_STEPS == 0 or steps >= total_steps):
            self.on_message(f"step {steps} of {total_steps}  {note}")
        if "evaluation_reward_mean" in row:
            beside = "  ".join(f"{name} {level:.3f}" for name, level in row["references"].items())
            self.on_message(
                f"step {steps}  evaluated without noise: {row['evaluation_reward_mean']:.3f}  "
                f"(same traffic: {beside})"
            )

    def on_wait(self, waited_s: float, limit_s: float) -> None:
        note = f"waiting for env runners, {waited_s:.0f} s of {limit_s:.0f}"
        if "training" in self._tasks:
            self._bar.update(self._tasks["training"], note=note)
        if not err.is_terminal and waited_s >= self._waited_s:
            self.on_message(note)
            self._waited_s = waited_s + WAITING_LINE_EVERY_S

    def on_rollout(self, policy: str, done: int, total: int) -> None:
        self._show("evaluating", done, total, policy)

    def _describe_reward(self) -> str:
        steps = [row["steps"] for row in self._recent]
        same = [row["same_steps"] for row in self._recent]
        beside = "  ".join(
            f"{name} {fmean((rewards[name] for rewards in same), steps):.3f}"
            for name in same[-1]
            if all(name in rewards for rewards in same)
        )
        text = f"reward {fmean((row['reward_mean'] for row in self._recent), steps):.3f}"
        text += f" over {sum(steps)} steps"
        return f"{text}  (same steps: {beside})" if beside else text

    def _show(self, what: str, done: int, total: int, note: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total, note="")
        self._bar.update(self._tasks[what], completed=done, total=total, note=note)
