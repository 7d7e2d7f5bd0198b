"""What a summary says of a few numbers, by hand."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from slicing_rllib.storage.errors import ConfigError, RunError
from slicing_rllib.studies.results import Results, read_ceiling_gain
from slicing_rllib.studies.study_configs import ExperimentConfig
from slicing_rllib.studies.study_tables import format_steps_saved
from slicing_rllib.studies.summary import (
    find_from_scratch_arm,
    rank_measures,
    summarise_learnable_gap,
    summarise_steps_saved,
)

EXPERIMENT = ExperimentConfig(
    reference="drl",
    arms={  # type: ignore[arg-type]
        "drl": {"title": "DRL"},
        "tl": {"title": "TL", "learns_from": "drl"},
        "again": {"learns_from": "tl"},
        "cloned": {"learns_from": "traffic_aware"},
        "far": {"map_offset": 1000},
        "elsewhere": {"learns_from": "far", "from_scratch": "drl"},
    },
)


def make_curve(arm, default_steps, by_step, seed=0):
    shared = {"seed": seed, "arm": arm, "default_steps": default_steps, "cell": "cell_1"}
    shared |= {"baseline": 0.8, "baseline_fail_rate_95": 0.25}
    return [shared | {"step": step, "evaluated": reward} for step, reward in by_step.items()]


def make_learning(arm, default_steps, fail_rates):
    """Two iterations of 500 steps."""
    shared = {"seed": 0, "arm": arm, "default_steps": default_steps}
    return [
        shared | {"step": 500 * (i + 1) - default_steps, "reward": 0.0, "fail_rate_95": rate}
        for i, rate in enumerate(fail_rates)
    ]


def make_results(curves, learning):
    curves = pd.DataFrame(curves).assign(base_policy=float("nan"), fail_rate_95=float("nan"))
    arms = {"arms": {arm: EXPERIMENT.arms[arm] for arm in ("drl", "tl")}}
    return Results(
        folder=Path(),
        experiment=EXPERIMENT.model_copy(update=arms),
        final=pd.DataFrame(),
        curves=curves,
        learning=pd.DataFrame(learning),
        transfers=pd.DataFrame(),
    )


def test_the_arm_from_scratch_is_found_through_the_arms_that_an_arm_learns_from():
    found = {arm: find_from_scratch_arm(EXPERIMENT, arm) for arm in EXPERIMENT.arms}

    assert found == {
        "drl": "drl",
        "tl": "drl",
        "again": "drl",
        "cloned": "drl",
        "elsewhere": "drl",
        "far": "far",
    }


def test_steps_count_from_the_first_step_and_levels_come_from_the_arm_from_scratch():
    """DRL gains .4 from .5 on, so the level is .5 + .95 * .4 = .88. TL's default steps count."""
    curves = [
        *make_curve("drl", 0, {50: 0.5, 1000: 0.81, 2000: 0.87, 4000: 0.9}),
        *make_curve("tl", 200, {0: 0.79, 50: 0.81, 500: 0.89}),
    ]
    learning = [*make_learning("drl", 0, [0.6, 0.5]), *make_learning("tl", 200, [0.35, 0.15])]
    saved = summarise_steps_saved(make_results(curves, learning))

    assert (saved["drl"]["baseline"]["median"], saved["drl"]["final"]["median"]) == (1000, 4000)
    assert (saved["tl"]["baseline"]["median"], saved["tl"]["final"]["median"]) == (250, 700)
    assert saved["drl"]["lost"]["1000"]["mean"] == pytest.approx(1000 * (0.55 - 0.25))
    assert saved["tl"]["lost"]["1000"]["mean"] == pytest.approx(0)
    assert saved["tl"]["lost"]["4000"] is None


def test_a_level_that_most_seeds_miss_has_no_median():
    learning = [*make_learning("drl", 0, [0.5, 0.5]), *make_learning("tl", 200, [0.5, 0.5])]
    curves = [
        *(row for seed in range(3) for row in make_curve("drl", 0, {50: 0.5, 100: 0.7}, seed)),
        *make_curve("tl", 200, {0: 0.9}, 0),
        *make_curve("tl", 200, {0: 0.6}, 1),
        *make_curve("tl", 200, {0: 0.6}, 2),
    ]
    results = make_results(curves, learning)
    saved = summarise_steps_saved(results)

    assert saved["tl"]["baseline"] == {
        "median": None,
        "reached": 1,
        "seeds": 3,
        "steps": [200, None, None],
    }
    table = "\n".join(format_steps_saved(saved, results.experiment))
    assert "| TL | not reached (1 of 3) | not reached (1 of 3) |" in table


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "arms: {drl: {from_scratch: dlr}}",
            "drl.from_scratch: expected one of drl, got 'dlr'",
        ),
        ("{table_steps: [60], arms: {drl: {}}}", "table_steps: 60 is none of the evaluation_steps"),
    ],
)
def test_names_and_steps_that_do_not_exist_are_refused(line: str, message: str, tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(line)

    with pytest.raises(ConfigError, match=re.escape(message)):
        ExperimentConfig.load(str(path))


def test_the_share_is_the_gain_over_that_of_the_ceiling():
    """A gain of .015 where the ceiling gains .03: half, and so are the ends of the interval."""
    gain = {"reward_mean": {"mean": 0.015, "ci95": [0.012, 0.018]}}
    gap = summarise_learnable_gap(
        {"cf": {"less": {"traffic_aware": gain}}, "x": {"less": {}}}, 0.03
    )

    assert gap["closed"] == {"cf": {"mean": 0.5, "ci95": pytest.approx([0.4, 0.6])}}


def test_the_gain_of_the_ceiling_is_read_from_the_benchmarks_rows(tmp_path):
    path = tmp_path / "ceiling.jsonl"
    assert read_ceiling_gain(path) is None
    path.write_text(json.dumps({"name": "ceiling.reward", "value": 0.87, "reference_value": 0.84}))
    assert read_ceiling_gain(path) == pytest.approx(0.03)
    path.write_text("{}\n")
    with pytest.raises(RunError, match="expected the rows of bench ceiling --json"):
        read_ceiling_gain(path)


def test_a_choice_is_compared_with_the_best_and_with_a_random_source():
    """Target t gains 0.3 from a, 0.1 from b and -0.1 from c; u gains 0.2, 0.2 and 0.5.

    Random sources gain 0.1 and 0.3, 0.2 on average. The SLA is nearest to b for t and to c for u,
    which gain 0.3 on average: 0.1 more than random ones, and 0.1 less than the best.
    """
    pairs = pd.DataFrame(
        [(0, 50, target, source, gain)
         for target, gains in (("t", (0.3, 0.1, -0.1)), ("u", (0.2, 0.2, 0.5)))
         for source, gain in zip("abc", gains, strict=True)],
        columns=["seed", "step", "target", "source", "gain"],
    )  # fmt: skip
    nearness = {"sla": {"t": "bca", "u": "cab"}, "mean_shift": {"t": "acb", "u": "abc"}}
    distances = pd.DataFrame(
        [(0, target, source, measure, float(rank))
         for measure, orders in nearness.items()
         for target, order in orders.items()
         for rank, source in enumerate(order)],
        columns=["seed", "target", "source", "measure", "distance"],
    )  # fmt: skip

    found = rank_measures(pairs, distances).set_index("measure")

    assert found.loc["sla", "over_random"] == pytest.approx(0.1)
    assert found.loc["sla", "regret"] == pytest.approx(0.1)
    assert found.loc["random", "over_random"] == pytest.approx(0.0)
    assert found.loc["best", "over_random"] == pytest.approx(0.2)
    assert found.loc["worst", "over_random"] == pytest.approx(0.1)
    assert found.loc["sla", "negative"] == 0.0
