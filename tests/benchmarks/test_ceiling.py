"""The learnable ceiling: observations with history, and the rows by hand."""

import numpy as np
import pytest

from slicing_rllib.benchmarks.ceiling import HISTORY_STEPS, HistoryEnv, make_rows, run
from slicing_rllib.radio import make_scenario

pytestmark = pytest.mark.usefixtures("unchecked")


def test_an_observation_holds_eight_steps_the_newest_one_last():
    env = HistoryEnv(make_scenario("paper"), map_seed=0)
    first = env.reset_batched(1).obs
    width = first.shape[1] // HISTORY_STEPS
    equal = np.full((12, 4), 0.25, np.float32)
    second, third = (env.step_batched(equal).obs for _ in range(2))

    assert np.array_equal(first[:, :width], first[:, -width:])
    assert np.array_equal(third[:, -2 * width : -width], second[:, -width:])
    assert not np.array_equal(third[:, -width:], second[:, -width:])


def test_the_share_of_the_oracle_gap_by_hand():
    """Baseline .8, ceiling .83, oracle .9 on every map: three tenths of the gap."""
    per_map = {
        name: np.column_stack([[level] * 3, [0.0] * 3, [0.2] * 3, [0.0] * 3])
        for name, level in (("ceiling", 0.83), ("traffic_aware", 0.8), ("oracle", 0.9))
    }
    rows = {row["name"]: row for row in make_rows(per_map)}

    assert rows["ceiling.reward"]["value"] == pytest.approx(0.83)
    assert rows["ceiling.reward"]["reference_value"] == pytest.approx(0.8)
    assert rows["ceiling.fail_rate_95"]["ratio"] == pytest.approx(1.0)
    assert rows["ceiling.share_of_oracle_gap"]["value"] == pytest.approx(0.3)


@pytest.mark.slow
def test_a_short_training_is_already_above_the_baseline():
    rows = {
        row["name"]: row
        for row in run(
            maps=1,
            steps_per_map=150,
            updates=150,
            steps=60,
            seeds=1,
            on_message=lambda line: None,
        )
    }

    assert rows["ceiling.reward"]["value"] > rows["ceiling.reward"]["reference_value"]
