"""The terminal table of a benchmark's rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from slicing_rllib.benchmarks.rows import is_within_tolerance
from slicing_rllib.service.console import format_number, format_value

STANDARD_COLUMNS = {"name", "value", "unit", "reference", "ratio", "expected", "tolerance"}


def make_benchmark_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns a table with one line per row.

    It has a column for each key that any row has. Expected values, and whether the measured ones
    are within tolerance of them, are shown if at least one row has an expected value.
    """
    table = Table()
    has_expected = any("expected" in row for row in rows)
    extra_columns = sorted({key for row in rows for key in row} - STANDARD_COLUMNS)
    for heading in ("name", *extra_columns, "value", "unit", "reference", "ratio"):
        table.add_column(heading, justify="right" if heading in ("value", "ratio") else "left")
    if has_expected:
        table.add_column("expected", justify="right")
        table.add_column("within", justify="right")
    for row in rows:
        line = [
            str(row["name"]),
            *(format_value(row.get(key, "")) for key in extra_columns),
            format_number(row["value"]),
            str(row["unit"]),
            str(row.get("reference") or ""),
            format_number(row.get("ratio")),
        ]
        if has_expected:
            line += [format_number(row.get("expected")), _format_verdict(row)]
        table.add_row(*line)
    return table


def _format_verdict(row: Mapping[str, Any]) -> str:
    if "expected" not in row:
        return ""
    return "yes" if is_within_tolerance(row) else "NO"
