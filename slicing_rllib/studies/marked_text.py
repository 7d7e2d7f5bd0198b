"""Sentences about results on other pages: templates beside the results, with a field per number.

The text between the marks `<!-- begin NAME -->` and `<!-- end NAME -->` of a page is that of the
report NAME: its `text.md`, if there is one, and its headline tables. Between the marks of a name
`NAME/PART` stands its `PART.md`. A template is Markdown with fields of `str.format`:

    TL is better than DRL by {policies[tl][less][drl][reward_mean]:ci} of reward.

- The keys are those of the report's `summary.json`; `{results[OTHER][...]}` is that of another one.
- `{paired[A@0 - B@50]}` is the paired difference of two arms' gains over the traffic-aware baseline
  after own steps, `{final[A - B]}` that of two policies' final rewards.
- Formats are `ci` (mean and interval, `+ci` with a plus), `points` (a share in percent) and those
  of Python; a minus before a format turns the sign. `certain` and `uncertain` write nothing, and
  refuse to be filled in where the interval says otherwise.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from slicing_rllib.evaluation.statistics import paired_difference
from slicing_rllib.evaluation.tables import format_mean, read_table, write_between_marks
from slicing_rllib.storage import read_json, read_text
from slicing_rllib.storage.errors import RunError
from slicing_rllib.studies.experiment_report import format_headline


@dataclass(frozen=True)
class Quantity:
    """A mean and its interval, which know how they are written."""

    mean: float | None
    interval: Sequence[float] | None

    def __format__(self, spec: str) -> str:
        if self.mean is None:
            raise ValueError("there is no mean")
        sign = -1.0 if spec.startswith("-") else 1.0
        mean = sign * self.mean
        ends = sorted(sign * end for end in self.interval or ())
        match spec.removeprefix("-"):
            case "certain" | "uncertain" as claim:
                is_certain = bool(ends) and (ends[0] > 0 or ends[1] < 0)
                if is_certain != (claim == "certain"):
                    raise ValueError(f"{format_mean(mean, ends)} is not {claim}")
                return ""
            case "ci" | "+ci" as form:
                text = format_mean(mean, ends, signed=form == "+ci")
            case "points":
                text = f"{100 * mean:.1f}"
            case plain:
                text = format(mean, plain or ".3f")
        return text.replace("-", "−")


def _quantify(content: Any) -> Any:
    """A part of a summary, with a `Quantity` for each mean that has an interval."""
    if not isinstance(content, dict):
        return content
    if "mean" in content:
        return Quantity(content["mean"], content["ci95"])
    intervals = content.get("ci95", {})
    found: dict[Any, Any] = {
        key: Quantity(value, intervals[key]) if key in intervals else _quantify(value)
        for key, value in content.items()
    }
    # `str.format` passes keys of digits as int.
    return found | {int(key): value for key, value in found.items() if key.isdecimal()}


@dataclass(frozen=True)
class _Lookup:
    """Finds what a field names in brackets by calling a function."""

    find: Callable[[str], Any]

    def __getitem__(self, name: str) -> Any:
        return self.find(name)


def _make_differences(by_seed: pd.DataFrame) -> _Lookup:
    """`A - B` of a table with a row per seed and a column per policy."""

    def compare(pair: str) -> Quantity:
        ours, theirs = (by_seed[name].to_numpy(float) for name in pair.split(" - "))
        return Quantity(*paired_difference(ours, theirs))

    return _Lookup(compare)


def read_numbers(report: Path) -> dict[str, Any]:
    """What the fields of a template may name, from the files of a report."""
    summary = _quantify(read_json(report / "summary.json"))
    final = read_table(report / "results.csv")
    curves = read_table(report / "curves.csv")
    curves["name"] = curves["arm"] + "@" + curves["step"].astype(str)
    curves["gain"] = curves["evaluated"] - curves["baseline"]
    return {
        **summary,
        "results": _Lookup(lambda name: read_numbers(report.parent / name)),
        "paired": _make_differences(curves.pivot(index="seed", columns="name", values="gain")),
        "final": _make_differences(
            final.pivot(index="seed", columns="policy", values="reward_mean")
        ),
    }


def format_marked_text(report: Path, part: str = "") -> str:
    """What stands between the marks of a report, or of a part of it.

    Raises: RunError for a template with a field that has no number, or with a claim that is wrong.
    """
    template = report / f"{part or 'text'}.md"
    text = ""
    if part or template.is_file():
        try:
            text = read_text(template).format_map(read_numbers(report)).strip()
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise RunError(f"{template}: {error}") from error
    tables = "" if part else format_headline(report)
    return "\n\n".join(block for block in (text, tables) if block)


def write_marked_texts(page: Path, report: Path, name: str) -> None:
    """Writes the texts of a report between all its marks in a page.

    Raises: RunError for a page without the marks of the report.
    """
    parts = re.findall(rf"<!-- begin {re.escape(name)}/(\S+) -->", read_text(page))
    for part in parts:
        write_between_marks(page, f"{name}/{part}", format_marked_text(report, part))
    if not parts or f"<!-- begin {name} -->" in read_text(page):
        write_between_marks(page, name, format_marked_text(report))
