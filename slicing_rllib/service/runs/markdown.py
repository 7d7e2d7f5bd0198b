"""Markdown tables of means with intervals."""

from collections.abc import Iterable, Sequence


def format_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table without padding, so that a changed number changes one line."""
    return [
        _format_row(headings),
        "| --- " * len(headings) + "|",
        *(_format_row(row) for row in rows),
    ]


def format_mean(
    mean: float | None, interval: Sequence[float] | None, *, signed: bool = False
) -> str:
    """`mean [low, high]` with three decimals; empty without a mean.

    `signed` writes a plus before positive numbers, as differences need it.
    """
    if mean is None:
        return ""
    form = "+.3f" if signed else ".3f"
    shown = f"{mean:{form}}"
    return shown if not interval else f"{shown} [{interval[0]:{form}}, {interval[1]:{form}}]"


def _format_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
