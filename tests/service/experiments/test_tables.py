"""Tables of a report."""

import pytest

from slicing_rllib.evaluation.statistics import METRICS
from slicing_rllib.service.experiments.config import Arm, ExperimentConfig
from slicing_rllib.service.experiments.tables import final_lines

ROW = {metric: 0.5 for metric in METRICS} | {"ci95": {metric: None for metric in METRICS}}


@pytest.mark.parametrize(
    ("experiment", "beside"),
    [
        (ExperimentConfig(arms={"drl": Arm()}), True),
        (ExperimentConfig(arms={"drl": Arm()}, set=("learning.exploration_steps=25",)), True),
        (ExperimentConfig(arms={"none": Arm()}), False),
        (ExperimentConfig(arms={"drl": Arm()}, set=("scenario=mixed",)), False),
        (ExperimentConfig(arms={"drl": Arm(set=("scenario=mixed",))}), False),
        (ExperimentConfig(arms={"drl": Arm()}, base="city.yaml"), False),
    ],
)
def test_the_papers_numbers_stand_beside_runs_on_its_network_alone(
    experiment: ExperimentConfig, beside: bool
):
    (arm,) = experiment.arms
    head, _, row, _ = final_lines({"policies": {arm: ROW}}, experiment)

    assert ("| paper |" in head) == beside
    assert ("| 0.19 |" in row) == beside
