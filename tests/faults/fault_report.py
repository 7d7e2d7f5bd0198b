"""Pytest plugin of the fault run: its options, and the table of the faults that have struck."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from slicing_rllib.evaluation.tables import format_table, split_at_marks, write_between_marks

MARK = "faults"
"""Name of the marks between which a page holds the table."""
HEADINGS = ("fault", "times", "noticed by", "recovery s", "steps lost", "silence s", "problems")
Record = dict[str, Any]
"""A fault that has struck: `fault`, `problem`, and the fields of `Recovery` where it recovered."""
RECORDS = pytest.StashKey[list[Record]]()
SENTENCES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults", "faults that strike a training (pytest -m faults)")
    group.addoption(
        "--fault-minutes", type=float, default=0.0, metavar="MINUTES",
        help="about how long faults strike; every kind strikes at least once, about 8 minutes",
    )  # fmt: skip
    group.addoption(
        "--fault-seed", type=int, default=0, metavar="SEED", help="of the order and times of faults"
    )
    group.addoption(
        "--fault-kills", type=int, default=20, metavar="NUMBER",
        help="processes to kill while they write a checkpoint",
    )  # fmt: skip
    group.addoption(
        "--faults-table", type=Path, metavar="PAGE",
        help=f"a Markdown page whose table between the marks `<!-- begin {MARK} -->` and "
        f"`<!-- end {MARK} -->` is replaced",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    page = config.getoption("faults_table")
    if page is not None:
        split_at_marks(page, MARK)  # Refused now rather than after the run.
    config.stash[RECORDS], config.stash[SENTENCES] = [], []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Writes the page, whatever ended the run. Only the controlling process has records."""
    config = session.config
    page, records = config.getoption("faults_table"), config.stash[RECORDS]
    if page is not None and records:
        minutes, seed = config.getoption("fault_minutes"), config.getoption("fault_seed")
        kills = config.getoption("fault_kills")
        command = (
            f"pytest -m faults tests/faults --fault-minutes {minutes:g} --fault-seed {seed} "
            f"--fault-kills {kills}"
        )
        write_between_marks(page, MARK, format_page(command, records, config.stash[SENTENCES]))


class _Collector:
    """Collects what tests of faults have reported, also those of other worker processes."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" or report.skipped:
            return
        properties = dict(report.user_properties)
        if "fault" in properties:
            problem = "" if report.passed else _read_problem(report)
            self._config.stash[RECORDS].append({**properties, "problem": problem})
        if "sentence" in properties:
            self._config.stash[SENTENCES].append(str(properties["sentence"]))


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.pluginmanager.register(_Collector(session.config), "fault collector")


def format_page(command: str, records: Sequence[Record], sentences: Iterable[str]) -> str:
    """The table as Markdown, with what surrounds it."""
    rows = format_rows(records)
    problems = sum(bool(record["problem"]) for record in records)
    lines = [
        f"`{command}`: {len(records)} faults of {len(rows)} kinds, {problems} problem"
        f"{'' if problems == 1 else 's'}. Recovery, steps lost and silence are the largest of each "
        "kind; recovery includes the start of a new process where the training had ended.",
        "",
        *format_table(HEADINGS, rows),
        "",
        *sentences,
    ]
    return "\n".join(lines)


def format_rows(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """A row per kind of fault, in alphabetical order."""
    rows = []
    for fault in sorted({record["fault"] for record in records}):
        own = [record for record in records if record["fault"] == fault]
        largest = [
            max((record[key] for record in own if key in record), default=0)
            for key in ("seconds", "steps_lost", "silence_s")
        ]
        noticed = next((record["noticed"] for record in own if "noticed" in record), "")
        problems = "; ".join(record["problem"] for record in own if record["problem"])
        rows.append(
            (fault, str(len(own)), noticed, f"{largest[0]:.1f}", str(largest[1]),
             f"{largest[2]:.1f}", problems or "none")
        )  # fmt: skip
    return rows


def _read_problem(report: pytest.TestReport) -> str:
    """The first line of a failure."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    return text.removeprefix("AssertionError: ").partition("\n")[0]
