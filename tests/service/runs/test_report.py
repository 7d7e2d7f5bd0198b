"""Tables and figures of runs."""

import csv
from pathlib import Path

import pytest

from slicing_rllib.service.errors import RunError
from slicing_rllib.service.runs.report import over_runs, write_report
from slicing_rllib.service.runs.run_directory import RunDirectory


def row(reward: float) -> dict:
    return {"reward_mean": reward, "satisfaction_mean": reward, "fail_rate_95": 0.0,
            "delay_max_ms": 1.0}  # fmt: skip


def test_a_run_is_one_seed():
    """Rewards .2 and .4 over two runs: .3; the gap of .1 to .9 half closed at .5."""
    table = over_runs(
        [
            {"policies": {"equal": row(0.1), "drl": row(0.4), "oracle": row(0.9)}},
            {"policies": {"equal": row(0.1), "drl": row(0.6), "oracle": row(0.9), "odd": row(1)}},
        ]
    )

    assert list(table) == ["equal", "drl", "oracle"]
    assert table["drl"]["reward_mean"] == pytest.approx(0.5)
    assert table["drl"]["oracle_gap_closed"] == pytest.approx(0.5)
    assert table["drl"]["seeds"] == 2


def test_a_report_has_the_summarys_numbers(finished: RunDirectory, tmp_path: Path):
    report = write_report([finished], tmp_path)

    with (tmp_path / "report.csv").open() as file:
        rows = {(r["policy"], r["metric"]): r for r in csv.DictReader(file)}
    expected = finished.summary()["policies"]["drl"]["reward_mean"]
    assert float(rows["drl", "reward_mean"]["mean"]) == expected
    assert "| drl |" in (tmp_path / "report.md").read_text()
    assert all(path.is_file() for path in report.files)


def test_several_runs_want_a_folder(finished: RunDirectory):
    with pytest.raises(RunError, match="--out"):
        write_report([finished, finished], None)
