"""The traffic of `paper` gives the paper's results, and the search for it is reproducible."""

import numpy as np
import pytest

from slicing_rllib.benchmarks import traffic_fit
from slicing_rllib.benchmarks.rows import is_within_tolerance
from slicing_rllib.benchmarks.traffic_fit import TrafficSettings, evaluate_policy
from slicing_rllib.radio import make_scenario

pytestmark = pytest.mark.usefixtures("unchecked")

SEEDS = range(10)


@pytest.fixture(scope="module")
def baseline():
    return evaluate_policy(make_scenario("paper"), "traffic_aware", SEEDS)


@pytest.mark.slow
def test_baseline_and_oracle_perform_as_the_targets_say():
    rows = list(traffic_fit.compare_with_targets(make_scenario("paper"), SEEDS))
    assert len(rows) == 4
    assert all(is_within_tolerance(row) for row in rows), rows


@pytest.mark.slow
def test_persistence_is_no_better_than_the_baseline(baseline):
    persistence = evaluate_policy(make_scenario("paper"), "persistence", SEEDS)
    assert persistence.satisfaction_mean <= baseline.satisfaction_mean


@pytest.mark.parametrize("policy", ["equal", "best_static"])
@pytest.mark.slow
def test_static_splits_are_clearly_worse(baseline, policy):
    static = evaluate_policy(make_scenario("paper"), policy, SEEDS[:4])
    assert static.satisfaction_mean < baseline.satisfaction_mean - 0.04
    assert static.fail_rate_95 > baseline.fail_rate_95 + 0.03


def test_rate_and_packet_are_factors_on_a_scenarios_traffic():
    paper = make_scenario("paper")
    settings = TrafficSettings(rate=2.0, packet=0.5, low=0.1, high=0.9, ripple=0.0)
    fitted = settings.apply(paper)
    assert fitted.slices[0].traffic.rate_kbps == 2 * paper.slices[0].traffic.rate_kbps
    assert (fitted.mask.low, fitted.mask.high) == (0.1, 0.9)


def test_equal_generators_find_equal_settings(monkeypatch):
    """The deviation is replaced by the mask's low: the search finds settings with a small low."""
    monkeypatch.setattr(
        traffic_fit, "_compute_deviation", lambda scenario, steps: scenario.mask.low
    )
    found = [
        traffic_fit.search_settings(
            make_scenario("paper"),
            np.random.default_rng(1),
            candidates=6,
            on_message=lambda message: None,
        )
        for _ in range(2)
    ]
    assert found[0] == found[1]
    assert found[0].low < 0.3
