"""Tables of an experiment's report."""

from pathlib import Path

import pytest

from slicing_rllib.evaluation.statistics import METRICS
from slicing_rllib.studies.study_configs import Arm, ExperimentConfig
from slicing_rllib.studies.study_tables import (
    format_difference_table,
    format_final_table,
    format_measure_table,
)

ROW = {metric: 0.5 for metric in METRICS} | {"ci95": {metric: None for metric in METRICS}}


def find_paper_column(experiment: ExperimentConfig) -> tuple[bool, bool]:
    """Whether the table has the paper's columns, and DRL's share below 0.95 in them."""
    (arm,) = experiment.arms
    heading, _, row = format_final_table({arm: ROW}, experiment)
    return "| paper |" in heading, "| 0.19 |" in row


@pytest.mark.parametrize("settings", [(), ("learning.exploration_steps=25",), ("scenario=paper",)])
def test_the_papers_numbers_stand_beside_runs_on_its_network(settings: tuple[str, ...]):
    experiment = ExperimentConfig(arms={"drl": Arm()}, set=settings)

    assert find_paper_column(experiment) == (True, True)


@pytest.mark.parametrize(
    "experiment",
    [
        ExperimentConfig(arms={"none": Arm()}),
        ExperimentConfig(arms={"drl": Arm()}, set=("scenario=mixed",)),
        ExperimentConfig(arms={"drl": Arm(set=("scenario=mixed",))}),
        ExperimentConfig(arms={"drl": Arm(set=("scenario.radio.placement=random",))}),
    ],
)
def test_other_arms_and_networks_stand_without_the_papers_numbers(experiment: ExperimentConfig):
    assert find_paper_column(experiment) == (False, False)


def test_a_base_with_another_network_stands_without_the_papers_numbers(tmp_path: Path):
    base = tmp_path / "city.yaml"
    base.write_text("scenario: {like: paper, layout: {site_distance_m: 200}}\n")

    assert find_paper_column(ExperimentConfig(arms={"drl": Arm()}, base=str(base))) == (
        False,
        False,
    )


def test_a_difference_names_what_is_subtracted():
    """TL − DRL: satisfaction .01 higher."""
    entry = {"mean": 0.01, "ci95": (0.005, 0.015)}
    rows = {"tl": {"less": {"drl": dict.fromkeys(METRICS, entry)}}}
    experiment = ExperimentConfig(
        arms={"drl": Arm(title="DRL"), "tl": Arm(title="TL", learns_from="drl")}, reference="drl"
    )
    *_, line = format_difference_table(rows, experiment)

    assert line.startswith("| TL − DRL | +0.010 [+0.005, +0.015] |")


def test_the_measure_with_the_smallest_regret_comes_first():
    def row(regret: float) -> dict:
        entry = {"mean": regret, "ci95": None}
        return {name: entry for name in ("spearman", "regret", "over_random", "negative")}

    lines = format_measure_table("0", {"sla": row(0.2), "mmd": row(0.1)})

    assert [line.split(" | ")[0] for line in lines[4:6]] == ["| mmd", "| sla"]
