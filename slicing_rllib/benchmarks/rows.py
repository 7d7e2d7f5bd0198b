"""What all benchmarks share: rows and their table, interleaved turns, networks of growing size.

A row is one measured value with what it is compared to. Measurements take turns, so that a change
of the machine's load affects all alike.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from rich.table import Table

from slicing_rllib.radio import Scenario, SyntheticMask, make_hexagonal_scenario, make_scenario

Row = dict[str, float | str | int]
"""Keys of every row: `name`, `value`, `unit`, `reference`, `ratio`. Some rows have more."""


def make_row(
    name: str,
    value: float,
    unit: str,
    *,
    reference: str = "",
    ratio: float = 1.0,
    **more: float | str | int,
) -> Row:
    """Returns a row without an expected value.

    Names are dotted, like `learning.steps_per_s`; the unit "1" is that of a dimensionless value.
    `ratio` is the value divided by that of the reference (for `transfer.kl_pairs`, the speed-up
    over it), and 1 or NaN without a reference. `more` are further columns.
    """
    row: Row = {"name": name, "value": value, "unit": unit, "reference": reference, "ratio": ratio}
    return row | more


def compare_with_expected(
    name: str, value: float, unit: str, expected: float, tolerance: float, reference: str
) -> Row:
    """Returns a row with an expected value.

    `tolerance` is the largest accepted absolute difference; `reference` is the publication or
    method that `expected` comes from.
    """
    ratio = float(value / expected) if expected else float("nan")
    row = make_row(name, float(value), unit, reference=reference, ratio=ratio)
    return row | {"expected": float(expected), "tolerance": float(tolerance)}


def is_within_tolerance(row: Mapping[str, Any]) -> bool:
    """Whether the value of a row with an expected value is close enough to it."""
    return abs(float(row["value"]) - float(row["expected"])) <= float(row["tolerance"])


STANDARD_COLUMNS = {"name", "value", "unit", "reference", "ratio", "expected", "tolerance"}


def make_benchmark_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns a table with one line per row.

    It has a column for each key that any row has, and says whether values are within tolerance.
    """
    table = Table()
    has_expected = any("expected" in row for row in rows)
    extra_columns = sorted({key for row in rows for key in row} - STANDARD_COLUMNS)
    table.add_column("name", no_wrap=True, min_width=max(len(str(row["name"])) for row in rows))
    for heading in (*extra_columns, "value", "unit", "reference", "ratio"):
        table.add_column(heading, justify="right" if heading in ("value", "ratio") else "left")
    if has_expected:
        table.add_column("expected", justify="right")
        table.add_column("within", justify="right")
    for row in rows:
        line = [
            str(row["name"]),
            *(_format_number(row.get(key, "")) for key in extra_columns),
            _format_number(row["value"]),
            str(row["unit"]),
            str(row.get("reference") or ""),
            _format_number(row.get("ratio")),
        ]
        if "expected" in row:
            verdict = "yes" if is_within_tolerance(row) else "NO"
            line += [_format_number(row["expected"]), verdict]
        table.add_row(*line)
    return table


def _format_number(value: float | str | None) -> str:
    """Four significant digits for floats; nothing for None and NaN."""
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


Value = TypeVar("Value")


def run_interleaved(
    measurements: Mapping[str, Callable[[], Value]], turns: int
) -> dict[str, list[Value]]:
    """Returns `turns` values of each measurement, by its name.

    A turn runs every measurement once. Every second turn runs them in reverse order: otherwise a
    machine that slows down steadily would favour the first measurement.
    """
    values: dict[str, list[Value]] = {name: [] for name in measurements}
    for turn in range(turns):
        names = list(measurements)
        for name in reversed(names) if turn % 2 else names:
            values[name].append(measurements[name]())
    return values


def measure_medians(
    measurements: Mapping[str, Callable[[], float]], turns: int
) -> dict[str, float]:
    """Returns the median over `turns` interleaved turns of each measurement, by its name."""
    values = run_interleaved(measurements, turns)
    return {name: statistics.median(found) for name, found in values.items()}


def time_call(function: Callable[..., object], *arguments: object) -> float:
    """Returns the seconds by the clock that one call takes."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


PERIOD_STEPS = round(SyntheticMask().period_steps)
"""Steps of one period of the traffic mask."""


class NetworkSize(NamedTuple):
    """A grid of sites with three cells each."""

    n_rows: int
    n_columns: int

    @property
    def n_cells(self) -> int:
        return 3 * self.n_rows * self.n_columns

    def make_scenario(self) -> Scenario:
        """Returns a network of this size with the traffic and radio settings of `paper`."""
        return make_hexagonal_scenario(self.n_rows, self.n_columns, like=make_scenario("paper"))


SIZES = tuple(NetworkSize(n, n) for n in (2, 4, 8, 16, 32))
"""12, 48, 192, 768 and 3,072 cells."""


def list_sizes(max_cells: int) -> Iterator[NetworkSize]:
    """Yields the sizes up to `max_cells` cells, the smallest first."""
    return (size for size in SIZES if size.n_cells <= max_cells)
