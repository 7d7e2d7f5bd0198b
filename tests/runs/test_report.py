"""Reports of runs: their tables and files."""

import csv
from pathlib import Path

import pytest

from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.run_report import describe_fixed_maps, summarise_runs, write_report
from slicing_rllib.storage.errors import RunError


def row(reward: float) -> dict:
    return {"reward_mean": reward, "satisfaction_mean": reward, "fail_rate_95": 0.0,
            "delay_max_ms": 1.0}  # fmt: skip


def test_each_of_several_runs_counts_as_one_seed():
    """Rewards .4 and .6 have the mean .5, which is half of the way from .1 to .9."""
    table = summarise_runs(
        [
            {"policies": {"equal": row(0.1), "drl": row(0.4), "oracle": row(0.9)}},
            {"policies": {"equal": row(0.1), "drl": row(0.6), "oracle": row(0.9), "other": row(1)}},
        ]
    )

    assert list(table) == ["equal", "drl", "oracle"]
    assert table["drl"]["reward_mean"] == pytest.approx(0.5)
    assert table["drl"]["oracle_gap_closed"] == pytest.approx(0.5)
    assert table["drl"]["seeds"] == 2


def test_a_report_has_the_numbers_of_the_summary(finished: RunDirectory, tmp_path: Path):
    _, files = write_report([finished], tmp_path)

    with (tmp_path / "report.csv").open() as file:
        rows = {(r["policy"], r["metric"]): r for r in csv.DictReader(file)}
    expected = finished.summary()["policies"]["td3"]["reward_mean"]
    assert float(rows["td3", "reward_mean"]["mean"]) == expected
    assert "| td3 |" in (tmp_path / "report.md").read_text()
    assert all(path.is_file() for path in files)


def test_a_report_of_several_runs_needs_a_folder(finished: RunDirectory):
    with pytest.raises(RunError, match="--out"):
        write_report([finished, finished], None)


def test_a_report_names_a_fixed_map():
    drawn, fixed = ([f"seed={seed}", *more] for seed, more in ((1, []), (2, ["env.map_seed=0"])))
    configs = [load_config("quick", settings) for settings in (drawn, fixed)]

    assert describe_fixed_maps(configs[:1]) == []
    assert "env.map_seed fixes the radio map (0)" in describe_fixed_maps(configs)[1]
