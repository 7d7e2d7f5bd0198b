"""The terminal table of a benchmark's rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from slicing_rllib.benchmarks.tolerance import within
from slicing_rllib.service.console import format_number, format_value

BENCHMARK_COLUMNS = {"name", "value", "unit", "reference", "ratio", "expected", "tolerance"}


def benchmark_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Figures of a benchmark; what was expected where somebody says so."""
    table = Table()
    expects = any("expected" in row for row in rows)
    more = sorted({key for row in rows for key in row} - BENCHMARK_COLUMNS)
    for heading in ("name", *more, "value", "unit", "reference", "ratio"):
        table.add_column(heading, justify="right" if heading in ("value", "ratio") else "left")
    if expects:
        table.add_column("expected", justify="right")
        table.add_column("within", justify="right")
    for row in rows:
        shown = [
            str(row["name"]),
            *(format_value(row.get(key, "")) for key in more),
            format_number(row["value"]),
        ]
        shown += [
            str(row["unit"]),
            str(row.get("reference") or ""),
            format_number(row.get("ratio")),
        ]
        if expects:
            shown += [format_number(row.get("expected")), _whether_within(row)]
        table.add_row(*shown)
    return table


def _whether_within(row: Mapping[str, Any]) -> str:
    if "expected" not in row:
        return ""
    return "yes" if within(row) else "NO"
