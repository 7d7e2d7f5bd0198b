"""The traffic of `paper` gives the paper's figures; the search is a search."""

import numpy as np
import pytest
from slicing_rllib.benchmarks.tolerance import within

from slicing_rllib.benchmarks import traffic_fit
from slicing_rllib.benchmarks.traffic_fit import TrafficSettings, figures
from slicing_rllib.radio import built_in

pytestmark = pytest.mark.usefixtures("unchecked")

SEEDS = range(10)


@pytest.fixture(scope="module")
def baseline():
    return figures(built_in("paper"), "traffic_aware", SEEDS)


def test_the_paper_scenario_meets_the_papers_figures_and_leaves_the_oracle_room():
    rows = list(traffic_fit.target_rows(built_in("paper"), SEEDS))
    assert len(rows) == 4
    assert all(within(row) for row in rows), rows


def test_persistence_is_no_better_than_the_baseline(baseline):
    persistence = figures(built_in("paper"), "persistence", SEEDS)
    assert persistence.satisfaction_mean <= baseline.satisfaction_mean


@pytest.mark.parametrize("policy", ["equal", "best_static"])
def test_static_splits_are_clearly_worse(baseline, policy):
    static = figures(built_in("paper"), policy, SEEDS[:4])
    assert static.satisfaction_mean < baseline.satisfaction_mean - 0.04
    assert static.fail_rate_95 > baseline.fail_rate_95 + 0.03


def test_settings_are_factors_on_a_scenarios_traffic():
    paper = built_in("paper")
    settings = TrafficSettings(rate=2.0, packet=0.5, low=0.1, high=0.9, ripple=0.0)
    fitted = settings.applied_to(paper)
    assert fitted.slices[0].traffic.rate_kbps == 2 * paper.slices[0].traffic.rate_kbps
    assert (fitted.mask.low, fitted.mask.high) == (0.1, 0.9)


def test_equal_generators_search_alike(monkeypatch):
    monkeypatch.setattr(traffic_fit, "STEPS", 5)
    monkeypatch.setattr(traffic_fit, "_miss", lambda scenario: scenario.mask.low)
    found = [
        traffic_fit.search(
            built_in("paper"), np.random.default_rng(1), candidates=6, progress=lambda message: None
        )
        for _ in range(2)
    ]
    assert found[0] == found[1]
    assert found[0].low < 0.5
