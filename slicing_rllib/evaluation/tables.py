"""Markdown tables of means with intervals, and pages in which generated text stands between marks.

A mark is a pair of comments, `<!-- begin NAME -->` and `<!-- end NAME -->`, each in its own line.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from slicing_rllib.storage import read_text, write_durably
from slicing_rllib.storage.errors import RunError
from slicing_rllib.storage.foreign_files import MIB

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")
MAX_TABLE_BYTES = 64 * MIB


def format_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table without padding, so that a changed number changes one line."""
    lines = [f"| {' | '.join(cells)} |" for cells in (headings, *rows)]
    return [lines[0], "| --- " * len(headings) + "|", *lines[1:]]


def format_mean(
    mean: float | None, interval: Sequence[float] | None, *, signed: bool = False, digits: int = 3
) -> str:
    """`mean [low, high]`; empty without a mean.

    `signed` writes a plus before positive numbers, as differences need it.
    """
    if mean is None:
        return ""
    form = f"{'+' if signed else ''}.{digits}f"
    shown = f"{mean:{form}}"
    return shown if not interval else f"{shown} [{interval[0]:{form}}, {interval[1]:{form}}]"


def make_hour_rows(hours: Mapping[str, Any], names: Sequence[str]) -> list[list[str]]:
    """A row per hour of the day: reward and, after a slash, share below 0.95 of each policy."""
    return [
        [
            f"{int(hour):02d}:00{' busy' if int(hour) == hours['busy_hour'] else ''}",
            *(
                f"{row[name]['reward_mean']:.3f} / {row[name]['fail_rate_95']:.1%}"
                for name in names
            ),
        ]
        for hour, row in hours["by_hour"].items()
    ]


def format_csv(table: pd.DataFrame, **settings: Any) -> str:
    """The table as CSV; texts that a spreadsheet would run as a formula get a quote in front.

    `settings` are those of `DataFrame.to_csv`.
    """
    texts = table.select_dtypes(exclude="number").columns

    def quote(value: Any) -> Any:
        is_formula = isinstance(value, str) and value.startswith(FORMULA_SIGNS)
        return f"'{value}" if is_formula else value

    quoted: Any = table.assign(**{str(name): table[name].map(quote) for name in texts})
    return quoted.to_csv(index=False, **settings)


LATEX_SIGNS = {**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "−": "$-$", "≥": "$\\ge$"}


def format_latex(page: str) -> str:
    """Every table of a Markdown page as a `tabular` with the rules of the package booktabs."""
    tables: list[str] = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", page, flags=re.MULTILINE):
        heading, _, *rows = [
            " & ".join(escape_latex(cell.strip()) for cell in line.strip("|").split("|"))
            for line in block.strip().split("\n")
        ]
        columns = "l" + "r" * heading.count(" & ")
        body = [f"{row} \\\\" for row in rows]
        tables.append(
            "\n".join(
                [
                    f"\\begin{{tabular}}{{{columns}}}", "\\toprule", f"{heading} \\\\",
                    "\\midrule", *body, "\\bottomrule", "\\end{tabular}", "",
                ]
            )
        )  # fmt: skip
    return "\n".join(tables)


def escape_latex(text: str) -> str:
    """The text with signs that LaTeX reads as commands escaped."""
    return "".join(LATEX_SIGNS.get(sign, sign) for sign in text)


def read_table(path: Path) -> pd.DataFrame:
    """A table of a report, from its CSV file. Raises: OSError or ValueError."""
    return pd.read_csv(io.StringIO(read_text(path, MAX_TABLE_BYTES)))


def split_at_marks(page: Path, name: str) -> tuple[str, str]:
    """A page up to its first mark and from its second one. Raises: RunError without them."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, mark, rest = read_text(page).partition(begin)
    _, closing, after = rest.partition(end)
    if not mark or not closing:
        raise RunError(f"{page}: expected the marks {begin} and {end}")
    return before + mark, closing + after


def write_between_marks(page: Path, name: str, text: str) -> None:
    """Replaces the text between the marks NAME of a page. Raises: RunError without them."""
    before, after = split_at_marks(page, name)
    write_durably(page, f"{before}\n{text.strip()}\n{after}".encode())
