"""Prints the rows of a benchmark."""

from collections.abc import Callable, Iterable, Iterator

from slicing_rllib.benchmarks.rows import Row


def print_rows(rows: Iterable[Row], json: bool) -> list[Row]:
    """Prints rows and returns them: as JSON lines while they come, or as one table at the end."""
    from slicing_rllib.benchmarks.table import make_benchmark_table
    from slicing_rllib.service.console import out, print_json_line

    if json:
        return list(_call_with_each(rows, lambda row: print_json_line(_replace_nan(row))))
    found = list(rows)
    out.print(make_benchmark_table(found))
    return found


def _call_with_each(rows: Iterable[Row], print_row: Callable[[Row], None]) -> Iterator[Row]:
    for row in rows:
        print_row(row)
        yield row


def _replace_nan(row: Row) -> dict[str, float | str | int | None]:
    """The row with None in the place of NaN, which JSON does not have."""
    return {key: None if value != value else value for key, value in row.items()}
