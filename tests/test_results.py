"""The README's numbers are those of the committed tables."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from slicing_rllib.service.experiments.config import ExperimentConfig
from slicing_rllib.service.experiments.report import headline


def experiment_of(table: Path) -> ExperimentConfig:
    text = (table.parent / "experiment.yaml").read_text(encoding="utf-8")
    return ExperimentConfig.model_validate(yaml.safe_load(text))


ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "tune_configs" / "results").glob("*/results.csv"))
TOLD_BY_GAINS = [path for path in RESULTS if experiment_of(path).shows == "gains"]
ALL_PAIRS = sorted((ROOT / "tune_configs" / "results").glob("*/pairs.csv"))
LARGEST_TABLES_BYTES = 300_000


@pytest.mark.parametrize("table", RESULTS, ids=lambda path: path.parent.name)
def test_the_readme_says_what_the_tables_say(table: Path):
    assert headline(table.parent).strip() in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", RESULTS, ids=lambda path: path.parent.name)
def test_tables_are_compact(table: Path):
    assert sum(p.stat().st_size for p in table.parent.glob("*.csv")) < LARGEST_TABLES_BYTES


@pytest.mark.parametrize("table", TOLD_BY_GAINS, ids=lambda path: path.parent.name)
def test_gains_are_those_of_the_curves(table: Path):
    experiment = experiment_of(table)
    curves = (
        pd.read_csv(table.parent / "curves.csv").set_index(["arm", "steps", "seed"]).sort_index()
    )
    gains = json.loads((table.parent / "summary.json").read_text(encoding="utf-8"))["gains"]
    reference = curves["evaluated"].loc[experiment.reference]
    first = reference.index.get_level_values("steps").min()

    for arm, found in gains.items():
        for step, gain in found.items():
            ours = curves["evaluated"].loc[arm, int(step)]
            less = ours - reference.loc[int(step) or first]
            assert gain["evaluated"]["mean"] == pytest.approx(less.mean(), abs=1e-5)


@pytest.mark.parametrize("table", ALL_PAIRS, ids=lambda path: path.parent.name)
def test_the_best_and_a_random_choice_are_those_of_the_pairs(table: Path):
    pairs = pd.read_csv(table)
    measures = json.loads((table.parent / "summary.json").read_text(encoding="utf-8"))["measures"]
    by_target = pairs.groupby(["steps", "seed", "target"])["gain"]
    expected = {"best": by_target.max(), "random": by_target.mean()}

    for choice, gain in expected.items():
        mean = gain.groupby(["steps", "seed"]).mean().groupby("steps").mean()
        for step, told in measures.items():
            assert told[choice]["gain"]["mean"] == pytest.approx(mean.loc[int(step)], abs=1e-5)


def test_there_are_results():
    assert RESULTS
    assert TOLD_BY_GAINS
    assert ALL_PAIRS
