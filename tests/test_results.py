"""The README's numbers are those of the committed tables."""

from pathlib import Path

import pytest

from slicing_rllib.service.experiment_report import headline

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "tune_configs" / "results").glob("*/results.csv"))
LARGEST_TABLES_BYTES = 300_000


@pytest.mark.parametrize("table", RESULTS, ids=lambda path: path.parent.name)
def test_the_readme_says_what_the_tables_say(table: Path):
    assert headline(table.parent).strip() in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", RESULTS, ids=lambda path: path.parent.name)
def test_tables_are_compact(table: Path):
    assert sum(p.stat().st_size for p in table.parent.glob("*.csv")) < LARGEST_TABLES_BYTES


def test_there_are_results():
    assert RESULTS
