"""One-time studies are tests: small by default, at full size with SLICING_RLLIB_FULL_STUDIES=1."""

import os
from collections.abc import Callable, Iterable

import pytest
from rich.console import Console

from slicing_rllib.benchmarks.rows import Row, make_benchmark_table

FULL = "SLICING_RLLIB_FULL_STUDIES"


@pytest.fixture(scope="session")
def is_full_study() -> bool:
    """Whether studies run at the size at which the READMEs quote them."""
    return os.environ.get(FULL, "0") != "0"


@pytest.fixture
def show_rows(capsys: pytest.CaptureFixture[str]) -> Callable[[Iterable[Row]], dict[str, Row]]:
    """Prints rows as a table, which `pytest -s` shows; the rows by name."""

    def show(rows: Iterable[Row]) -> dict[str, Row]:
        found = list(rows)
        with capsys.disabled():
            if is_shown:
                Console(width=200).print(make_benchmark_table(found))
        return {str(row["name"]): row for row in found}

    is_shown = os.environ.get(FULL, "0") != "0"
    return show
