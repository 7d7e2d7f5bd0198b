"""The result of a drill as a table of kinds of faults."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from slicing_rllib.drill.result import DrillResult
from slicing_rllib.drill.trial import Injection
from slicing_rllib.runs.run_report import format_table
from slicing_rllib.studies.experiment_report import write_between_marks

MARK = "drill"
"""Name of the marks between which a page holds the table."""
HEADINGS = ("fault", "times", "noticed by", "recovery s", "steps lost", "silence s", "problems")


class KindOfFault(NamedTuple):
    """All injections of one kind."""

    fault: str
    times: int
    noticed: str
    recovery_s: float
    """Longest."""
    steps_lost: int
    """Most."""
    silence_s: float
    """Longest."""
    problems: list[str]


def group_by_fault(injections: Sequence[Injection]) -> list[KindOfFault]:
    """A row per kind of fault, in alphabetical order."""
    rows = []
    for fault in sorted({injection.fault for injection in injections}):
        own = [injection for injection in injections if injection.fault == fault]
        rows.append(
            KindOfFault(
                fault,
                len(own),
                own[0].noticed,
                max(injection.recovery_s for injection in own),
                max(injection.steps_lost for injection in own),
                max(injection.silence_s for injection in own),
                [injection.problem for injection in own if injection.problem],
            )
        )
    return rows


def make_summary(result: DrillResult, seed: int) -> dict[str, Any]:
    """The result as plain values."""
    return {
        "minutes": round(result.minutes, 1),
        "seed": seed,
        "faults": len(result.injections),
        "kinds": len({injection.fault for injection in result.injections}),
        "finished": len(result.comparisons),
        "bit_identical": sum(result.comparisons),
        "problems": result.problems,
        "checkpoints": result.checkpoints._asdict() if result.checkpoints else None,
        "injections": [injection._asdict() for injection in result.injections],
    }


def format_rows(result: DrillResult) -> list[tuple[str, ...]]:
    """Cells of the table, under `HEADINGS`; recovery, loss and silence are the largest."""
    return [
        (
            row.fault, str(row.times), row.noticed, f"{row.recovery_s:.1f}", str(row.steps_lost),
            f"{row.silence_s:.1f}", "; ".join(row.problems) or "none",
        )
        for row in group_by_fault(result.injections)
    ]  # fmt: skip


def describe_checkpoints(result: DrillResult) -> str:
    """A sentence about kills and power failures while a checkpoint was written; empty without."""
    drill = result.checkpoints
    if drill is None:
        return ""
    return (
        f"While a checkpoint was written over an older one, {drill.kills} processes were killed "
        f"with SIGKILL at points spread over {drill.points} before and after its file operations, "
        f"and power failed at {drill.power_moments} moments, which left {drill.power_states} "
        f"different states of the disk: {drill.found_older} times the older and "
        f"{drill.found_newer} times the newer checkpoint was found, verified and had the bytes "
        f"that were written. From {drill.continued} of these states, one of each kind (which "
        "checkpoint was found, with and without unfinished files beside it), the training was "
        f"continued to its end and compared with the undisturbed one. {len(drill.problems)} "
        "problems."
    )


def describe_failures(result: DrillResult) -> str:
    """A sentence about what ended parts of the drill outside of faults; empty without."""
    return f"Outside of faults: {'; '.join(result.failures)}." if result.failures else ""


def write_table(page: Path, result: DrillResult, seed: int) -> None:
    """Replaces the table in a Markdown page. Raises: RunError for a page without the marks."""
    summary = make_summary(result, seed)
    minutes, n_problems = f"{result.minutes:.1f}".replace(".0", ""), len(summary["problems"])
    lines = [
        f"`slicing-rllib drill`, seed {seed}, {minutes} minutes: {summary['faults']} faults of "
        f"{summary['kinds']} kinds, {n_problems} problem{'' if n_problems == 1 else 's'}. "
        f"{summary['bit_identical']} of {summary['finished']} trainings that ran to their end on "
        "the driver alone have weights that are bit for bit those of an undisturbed one. Recovery, "
        "steps lost and silence are the largest of each kind; recovery includes the start of a new "
        "process where the training had ended.",
        "",
        *format_table(HEADINGS, format_rows(result)),
        "",
        *filter(None, (describe_checkpoints(result), describe_failures(result))),
    ]
    write_between_marks(page, MARK, "\n".join(lines))
