"""The tables of committed results agree with each other and with the pages that show them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from committed_results import RESULTS, TUNE_CONFIGS, read_summary

from slicing_rllib.studies.experiment_config import read_saved_experiment
from slicing_rllib.studies.experiment_report import format_headline

WITH_GAINS = [folder for folder in RESULTS if read_summary(folder).get("gains")]
WITH_BASELINE = [folder for folder in RESULTS if "baseline_gains" in read_summary(folder)]
WITH_PAIRS = [folder for folder in RESULTS if (folder / "pairs.csv").is_file()]
MAX_TABLE_BYTES = 300_000


@pytest.mark.parametrize("folder", RESULTS, ids=lambda path: path.name)
def test_the_page_of_experiments_shows_the_committed_tables(folder: Path):
    assert format_headline(folder).strip() in (TUNE_CONFIGS / "README.md").read_text(
        encoding="utf-8"
    )


def test_the_figures_of_the_page_exist():
    page = (TUNE_CONFIGS / "README.md").read_text(encoding="utf-8")
    linked = [line.partition("](")[2].rstrip(")") for line in page.splitlines() if "![" in line]

    assert linked
    assert all((TUNE_CONFIGS / path).is_file() for path in linked)


@pytest.mark.parametrize("folder", RESULTS, ids=lambda path: path.name)
def test_committed_tables_are_small(folder: Path):
    assert sum(path.stat().st_size for path in folder.glob("*.csv")) < MAX_TABLE_BYTES


@pytest.mark.parametrize("folder", WITH_GAINS, ids=lambda path: path.name)
def test_gains_are_those_of_the_curves(folder: Path):
    curves = pd.read_csv(folder / "curves.csv").set_index(["arm", "step", "seed"]).sort_index()
    reference = curves["evaluated"].loc[read_saved_experiment(folder).reference]
    first = reference.index.get_level_values("step").min()

    for arm, found in read_summary(folder)["gains"].items():
        for step, gain in found.items():
            ours = curves["evaluated"].loc[arm, int(step)]
            difference = ours - reference.loc[int(step) or first]
            assert gain["evaluated"]["mean"] == pytest.approx(difference.mean(), abs=1e-5)


@pytest.mark.parametrize("folder", WITH_BASELINE, ids=lambda path: path.name)
def test_gains_over_the_baseline_are_those_of_the_curves(folder: Path):
    curves = pd.read_csv(folder / "curves.csv").set_index(["arm", "step"]).sort_index()
    pairs = {
        "reward": ("evaluated", "baseline"),
        "fail_rate_95": ("fail_rate_95", "baseline_fail_rate_95"),
        "over_base_policy": ("evaluated", "base_policy"),
    }

    for arm, found in read_summary(folder)["baseline_gains"].items():
        for step, gains in found.items():
            rows = curves.loc[(arm, int(step))]
            for name, (ours, theirs) in pairs.items():
                found_mean = gains[name]["mean"]
                expected = (rows[ours] - rows[theirs]).mean()
                assert (found_mean is None) == bool(np.isnan(expected))
                assert found_mean is None or found_mean == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("folder", WITH_PAIRS, ids=lambda path: path.name)
def test_the_best_and_a_random_choice_are_those_of_the_pairs(folder: Path):
    pairs = pd.read_csv(folder / "pairs.csv")
    by_target = pairs.groupby(["step", "seed", "target"])["gain"]
    expected = {"best": by_target.max(), "random": by_target.mean()}

    for choice, gain in expected.items():
        mean = gain.groupby(["step", "seed"]).mean().groupby("step").mean()
        for step, measures in read_summary(folder)["measures"].items():
            found = measures[choice]["gain"]["mean"]
            assert found == pytest.approx(mean.loc[int(step)], abs=1e-5)


def test_the_table_of_the_first_page_is_that_of_the_committed_results():
    page = (TUNE_CONFIGS.parent / "README.md").read_text(encoding="utf-8")
    policies = read_summary(TUNE_CONFIGS / "results" / "paper")["policies"]
    results = page.partition("## Results")[2].partition("## Run directory")[0]
    rows = [line for line in results.splitlines() if line.startswith("| `")]

    assert len(rows) == 8
    for row in rows:
        name, _, satisfaction, fail_rate, delay, reward = map(str.strip, row.strip("|").split("|"))
        found = policies[name.split("`")[1]]
        low, high = found["ci95"]["satisfaction_mean"]
        expected = f"{found['satisfaction_mean']:.3f} [{low:.3f}, {high:.3f}]"
        assert satisfaction.split(" / ")[0] == expected
        assert fail_rate.split(" / ")[0] == f"{found['fail_rate_95']:.3f}"
        assert delay.split(" / ")[0] == f"{found['delay_max_ms']:.3f}"
        assert reward == f"{found['reward_mean']:.3f}"


def test_the_oracles_of_single_metrics_are_those_of_their_table():
    page = (TUNE_CONFIGS / "NOT_REPRODUCED.md").read_text(encoding="utf-8")
    table = pd.read_csv(TUNE_CONFIGS / "results" / "oracles-paper.csv")
    metrics = ("satisfaction_mean", "fail_rate_95", "delay_max_ms", "reward_mean")
    rows = [line for line in page.splitlines() if line.startswith("| `")]

    assert len(rows) == 3
    for row in rows:
        values = table[table["policy"] == row.split("`")[1]]
        for metric, shown in zip(metrics, row.strip("|").split("|")[1:], strict=True):
            assert shown.split()[0] == f"{values[metric].mean():.3f}"


def test_there_are_results_of_every_kind():
    assert RESULTS
    assert WITH_GAINS
    assert WITH_PAIRS
