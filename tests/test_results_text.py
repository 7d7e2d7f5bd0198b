"""The sentences of the results page say what the rows of the committed tables say."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from committed_results import TUNE_CONFIGS, read_summary

from slicing_rllib.evaluation.statistics import paired_difference


def read_interval(folder: str, *keys: str) -> tuple[float, float]:
    found: Any = read_summary(TUNE_CONFIGS / "results" / folder)
    for key in keys:
        found = found[key]
    low, high = found["ci95"]
    return low, high


def read_numbers(sentence: str) -> list[float]:
    """The first three numbers: a mean and its interval."""
    return [float(n.replace("−", "-")) for n in re.findall(r"[−\d.]+", sentence)[:3]]


def gains(arm: str, step: int, column: str = "reward") -> tuple[str, ...]:
    return "baseline_gains", arm, str(step), column


def over_random(measure: str, step: int) -> tuple[str, ...]:
    return "measures", str(step), measure, "over_random"


def less(arm: str, other: str, metric: str = "reward_mean") -> tuple[str, ...]:
    return "policies", arm, "less", other, metric


CLAIMS = [
    # What the page says, the experiment, the row, and the range that its interval must lie in.
    ("TL is better than DRL by 0.006", "paper", less("tl", "drl"), (0, 0.01)),
    ("DRL better than the traffic-aware", "paper", less("drl", "traffic_aware"), (0, 0.015)),
    ("passes the baseline only with 8,000 own steps", "paper", gains("drl", 8000), (0, 1)),
    ("passes the baseline only with 8,000 own steps", "paper", gains("drl", 6000), (-1, 0)),
    ("is 0.008 ahead after 1,000 own", "paper", gains("tl", 1000), (0, 0.02)),
    ("the nearest SLA and a random source are above", "paper", gains("tl_sla_first", 50), (0, 1)),
    ("the nearest SLA and a random source are above", "paper", gains("tl_random", 50), (0, 1)),
    ("baseline after 200 own steps, 0.026 ahead after 500", "paper", gains("cf", 200), (0, 1)),
    ("0.026 ahead after 500 and 0.029 after 4,000", "paper", gains("cf", 500), (0.015, 1)),
    ("0.026 ahead after 500 and 0.029 after 4,000", "paper", gains("cf", 4000), (0.02, 1)),
    ("4.9 points fewer below 0.95", "paper", gains("cf", 4000, "fail_rate_95"), (-1, -0.035)),
    ("0.99 of the gain that a large", "paper", ("learnable_gap", "closed", "cf"), (0.8, 1.2)),
    ("needs 500 steps to pass the\nbaseline", "paper", gains("cf_mlp", 500), (0, 1)),
    ("and the paper's own observation 4,000", "paper", gains("cf_paper_obs", 4000), (0, 1)),
    ("and the paper's own observation 4,000", "paper", gains("cf_paper_obs", 500), (-1, 0)),
    ("0.029 ahead of the baseline at its first", "paper", gains("cf_transfer", 0), (0.015, 1)),
    ("wrong by 30 %, by 0.020", "robustness", gains("needed_30", 4000), (0.006, 1)),
    ("(−0.002 [−0.010, 0.006])", "robustness", gains("needed_60", 4000), (-0.011, 0.007)),
    ("leave a lead of 0.020", "robustness", gains("fifo", 4000), (0, 1)),
    ("ends 0.007 of reward above DRL", "controls", less("drl_long", "drl"), (0, 0.015)),
    ("alone ends 0.003 below DRL", "controls", less("zero_shot", "drl"), (-0.01, 0)),
    ("stays behind, even after 4,000", "controls", gains("generalist", 4000), (-1, 0)),
    ("starts 0.016 below the baseline", "controls", gains("cloned", 0), (-0.03, 0)),
    ("0.448 below the baseline after 50", "controls", gains("cloned", 50), (-1, -0.3)),
    ("only delays that", "controls", gains("cloned_warm_critics", 4000), (-1, -0.1)),
    (
        "0.198 below the\n  baseline after 4,000",
        "controls",
        gains("cloned_random", 4000),
        (-1, -0.1),
    ),
    ("and ends 0.005 below DRL", "controls", less("cloned_random", "drl"), (-0.015, 0)),
    (
        "0.032 [0.019, 0.046] better",
        "ablation-sources",
        over_random("sla_first", 0),
        (0.018, 0.047),
    ),
    ("0.022 [0.013, 0.030]; the", "ablation-sources", over_random("sla", 0), (0.012, 0.031)),
    ("−0.001 [−0.014, 0.012]", "ablation-sources", over_random("kl_paper", 0), (-0.015, 0.013)),
    ("0.005 [0.001, 0.009] ahead", "ablation-sources", over_random("sla_first", 200), (0, 0.01)),
    ("0.033 above the\n  baseline", "counterfactual-transfer", gains("farthest", 0), (0.02, 0.05)),
    (
        "not certainly above the",
        "counterfactual-transfer",
        gains("bare_farthest", 0),
        (-0.07, 0.02),
    ),
    (
        "0.001 [0.000, 0.001] below",
        "counterfactual-transfer",
        less("pretrained", "scratch"),
        (-0.0014, 0),
    ),
    ("−0.003 [−0.006, −0.000]", "ablation-messages", less("mean_load", "none"), (-0.0065, 0)),
    (
        "0.026 [0.020, 0.032] and",
        "ablation-messages",
        less("per_neighbour", "none"),
        (-0.033, -0.019),
    ),
    (
        "0.041 [0.027, 0.056] behind",
        "ablation-messages",
        less("all_cells", "none"),
        (-0.057, -0.026),
    ),
    ("0.008 [0.005, 0.012] of", "ablation-prb", less("random", "contiguous"), (0.004, 0.013)),
    (
        "0.009 [0.006, 0.012] without",
        "ablation-prb",
        less("random_no_messages", "contiguous"),
        (0.005, 0.013),
    ),
    (
        "0.001 [−0.001, 0.002]",
        "ablation-prb",
        less("contiguous_no_messages", "contiguous"),
        (-0.0015, 0.0025),
    ),
    ("0.017 [0.003, 0.031] worse", "ablation-sources", over_random("worst", 50), (-0.032, -0.002)),
    ("0.014 [0.004, 0.023] ahead", "ablation-transfer", gains("integrated", 1000), (0, 0.03)),
    ("leaves 0.023 of 0.029", "robustness", gains("noise_20", 4000), (0, 1)),
]


@pytest.mark.parametrize(("sentence", "folder", "row", "limits"), CLAIMS)
def test_a_sentence_of_the_page_is_what_its_row_says(sentence, folder, row, limits):
    low, high = read_interval(folder, *row)

    assert sentence in (TUNE_CONFIGS / "README.md").read_text(encoding="utf-8")
    assert limits[0] < low <= high < limits[1]
    if "[" in sentence:
        # "A is 0.02 [0.01, 0.03] worse" is the row −0.02 [−0.03, −0.01].
        shown = [abs(number) for number in read_numbers(sentence)]
        mean = 0.5 * (low + high)
        assert sorted(shown) == pytest.approx(sorted(map(abs, (low, mean, high))), abs=6e-4)


@pytest.mark.parametrize(
    ("experiment", "arm", "shown"),
    [
        ("controls", "tl", "225 steps"),
        ("controls", "drl", "7,500"),
        ("controls", "cloned_random", "6,200"),
        ("transfer-hard", "far_random", "400 steps"),
        ("transfer-hard", "near", "200 steps"),
        ("transfer-hard", "drl", "7,500"),
        ("transfer-hard", "cf", "150 steps"),
        ("paper", "tl", "225 steps"),
        ("paper", "tl_sla_first", "200 steps"),
        ("paper", "drl", "7,500"),
        ("paper", "cf", "150 steps"),
        ("paper", "cf_transfer", "50 steps"),
    ],
)
def test_the_steps_until_the_baseline_are_those_of_the_curves(experiment, arm, shown):
    """The first evaluated step at which an arm reaches the baseline, default action included."""
    folder = TUNE_CONFIGS / "results" / experiment
    curves = pd.read_csv(folder / "curves.csv")
    reached = curves[(curves["arm"] == arm) & (curves["evaluated"] >= curves["baseline"])]
    steps = (reached["step"] + reached["default_steps"]).groupby(reached["seed"]).min()
    found = read_summary(folder)["steps_saved"][arm]["baseline"]

    assert len(steps) == found["reached"]
    per_seed = [*steps, *[np.inf] * (found["seeds"] - len(steps))]
    assert found["median"] == np.median(per_seed) == float(shown.split()[0].replace(",", ""))
    assert shown in (TUNE_CONFIGS / "README.md").read_text(encoding="utf-8")


DIFFERENCES = [
    # The experiment, two arms with the own steps at which they are compared, what the page says,
    # and whether the difference is certain.
    (
        "counterfactual-transfer",
        ("bare_nearest", 0),
        ("bare_random", 0),
        "0.032 [0.025, 0.039]",
        True,
    ),
    (
        "counterfactual-transfer",
        ("bare_nearest", 0),
        ("bare_farthest", 0),
        "0.066 [0.029, 0.103] better",
        True,
    ),
    (
        "counterfactual-transfer",
        ("bare_nearest", 1000),
        ("bare_random", 1000),
        "After 1,000 own steps no difference to a random source is certain",
        False,
    ),
    ("counterfactual-transfer", ("nearest", 0), ("random", 0), "0.006 [0.002, 0.009] at", True),
    (
        "counterfactual-transfer",
        ("nearest", 200),
        ("random", 200),
        "0.004 [0.003, 0.006] after 200",
        True,
    ),
    (
        "counterfactual-transfer",
        ("nearest", 1000),
        ("random", 1000),
        "0.002 [0.001, 0.003] after 1,000",
        True,
    ),
    (
        "counterfactual-transfer",
        ("noisy_nearest", 0),
        ("noisy_farthest", 0),
        "0.021 [0.009, 0.032] at",
        True,
    ),
    ("counterfactual-transfer", ("nearest", 0), ("farthest", 0), "0.020 [0.011, 0.029]", True),
    ("counterfactual-transfer", ("nearest", 50), ("scratch", 50), "0.018 [0.014, 0.022]", True),
    ("counterfactual-transfer", ("nearest", 200), ("scratch", 200), "0.003 [0.002, 0.004]", True),
    (
        "counterfactual-transfer",
        ("nearest", 500),
        ("scratch", 500),
        "nothing certain after 500",
        False,
    ),
    ("counterfactual-transfer", ("random", 50), ("scratch", 50), "0.010 [0.007, 0.014]", True),
    (
        "counterfactual-transfer",
        ("random", 200),
        ("scratch", 200),
        "nothing certain after 200, and",
        False,
    ),
    (
        "counterfactual-transfer",
        ("scratch", 500),
        ("random", 500),
        "0.002 [0.001, 0.003] behind",
        True,
    ),
    (
        "counterfactual-transfer",
        ("bare_nearest", 1000),
        ("bare_scratch", 1000),
        "0.016 [0.013, 0.019] ahead",
        True,
    ),
    (
        "counterfactual-transfer",
        ("noisy_nearest", 1000),
        ("noisy_scratch", 1000),
        "0.004 [0.003, 0.005]",
        True,
    ),
    ("transfer-hard", ("far_sla_first", 1000), ("drl", 8500), "−0.003 [−0.005, 0.000]", False),
    ("transfer-hard", ("near", 1000), ("drl", 8500), "from either kind of source", False),
    ("transfer-hard", ("near", 50), ("far_sla_first", 50), "0.021 [0.012, 0.031]", True),
    ("transfer-hard", ("near", 1000), ("far_sla_first", 1000), "0.003 [0.001, 0.006]", True),
    ("transfer-hard", ("far_random", 50), ("far_kl_paper", 50), "0.041 [0.021, 0.060]", True),
    ("transfer-hard", ("far_random", 50), ("far_mean_shift", 50), "0.009 [0.004, 0.015]", True),
    ("transfer-hard", ("far_sla_first", 50), ("far_random", 50), "−0.006 [−0.014, 0.002]", False),
    ("transfer-hard", ("far_kl_paper", 1000), ("far_random", 1000), "no difference is left", False),
    ("transfer-hard", ("far_mean_shift", 1000), ("far_random", 1000), "difference is left", False),
    (
        "transfer-hard",
        ("far_mean_shift_25", 50),
        ("far_mean_shift", 50),
        "0.008 [−0.005, 0.020]",
        False,
    ),
    ("transfer-hard", ("far_mean_shift_500", 50), ("far_mean_shift", 50), "so it is", False),
    ("transfer-hard", ("near_cf", 50), ("cf", 50), "0.041 [0.033, 0.048]", True),
    ("transfer-hard", ("near_cf", 200), ("cf", 200), "0.006 [0.005, 0.007]", True),
    ("transfer-hard", ("near_cf", 1000), ("cf", 1000), "nothing after 1,000", False),
    ("transfer-hard", ("far_cf_random", 50), ("cf", 50), "0.036 [0.029, 0.042]", True),
    ("transfer-hard", ("far_cf_random", 200), ("cf", 200), "nothing after 200", False),
    ("transfer-hard", ("cf", 1000), ("far_cf_random", 1000), "0.004 [0.002, 0.006]", True),
    ("transfer-hard", ("cf", 200), ("near", 200), "0.014 [0.012, 0.016]", True),
    ("robustness", ("needed_60", 4000), ("needed_60_guarded", 4000), "0.004 [0.002, 0.006]", True),
    ("robustness", ("needed_60_blend", 4000), ("needed_60", 4000), "0.005 [0.000, 0.009]", True),
    ("robustness", ("needed_30_blend", 4000), ("needed_30", 4000), "0.001 [0.000, 0.001] at", True),
    ("ablation-transfer", ("model", 0), ("model", 50), "0.028 [0.010, 0.046]", True),
    ("ablation-transfer", ("integrated", 50), ("model", 50), "0.025 [0.006, 0.044]", True),
    ("ablation-transfer", ("integrated", 1000), ("model", 1000), "0.006 [0.003, 0.009]", True),
    ("ablation-transfer", ("drl", 1000), ("instance", 1000), "0.167 [0.021, 0.314]", True),
    ("ablation-transfer", ("drl", 200), ("instance", 200), "0.248 [0.182, 0.314]", True),
    ("ablation-transfer", ("integrated", 1000), ("feature", 1000), "0.026 [0.020, 0.032]", True),
    (
        "ablation-samples",
        ("samples_25", 0),
        ("samples_200", 0),
        "0.002 [−0.002, 0.006]",
        False,
    ),
    (
        "ablation-samples",
        ("samples_500", 0),
        ("samples_200", 0),
        "0.001 [−0.001, 0.003]",
        False,
    ),
    *(
        ("ablation-transfer", (arm, 1000), ("integrated", 1000), "No difference", False)
        for arm in (
            "multi_source",
            "integrated_half_foreign",
            "integrated_warm_critics",
            "integrated_not_relabelled",
            "integrated_less_noise",
        )
    ),
]


@pytest.mark.parametrize(("folder", "ours", "theirs", "sentence", "is_certain"), DIFFERENCES)
def test_what_the_page_says_about_two_arms(folder, ours, theirs, sentence, is_certain):
    """Paired by network: gains over the baseline after own steps."""
    curves = pd.read_csv(TUNE_CONFIGS / "results" / folder / "curves.csv")
    gain = curves.assign(gain=curves["evaluated"] - curves["baseline"])
    by_seed = gain.pivot_table(index="seed", columns=["arm", "step"], values="gain")
    mean, interval = paired_difference(by_seed[ours].to_numpy(), by_seed[theirs].to_numpy())
    assert interval is not None

    assert sentence in (TUNE_CONFIGS / "README.md").read_text(encoding="utf-8")
    assert (interval[0] > 0 or interval[1] < 0) == is_certain
    if "[" in sentence:
        assert read_numbers(sentence) == pytest.approx([mean, *interval], abs=6e-4)


def test_two_of_twelve_differences_to_200_samples_are_certain():
    curves = pd.read_csv(TUNE_CONFIGS / "results" / "ablation-samples" / "curves.csv")
    by_seed = curves.pivot_table(index="seed", columns=["arm", "step"], values="evaluated")
    certain = {}
    for number in (25, 50, 100, 500):
        for step in (0, 50, 200):
            mean, interval = paired_difference(
                by_seed[f"samples_{number}", step].to_numpy(),
                by_seed["samples_200", step].to_numpy(),
            )
            assert interval is not None
            if interval[0] > 0 or interval[1] < 0:
                certain[number, step] = mean

    assert sorted(certain) == [(25, 50), (50, 200)]
    assert 0 < min(certain.values()) <= max(certain.values()) < 0.0071


def test_no_measure_of_experience_is_certainly_better_than_a_random_source_at_first():
    page = (TUNE_CONFIGS / "README.md").read_text(encoding="utf-8")
    measures = read_summary(TUNE_CONFIGS / "results" / "ablation-sources")["measures"]
    others = set(measures["0"]) - {"best", "worst", "random", "sla", "sla_first"}
    low, high = measures["1000"]["sla_first"]["over_random"]["ci95"]

    assert len(others) == 9
    for measure in others:
        assert measures["0"][measure]["over_random"]["ci95"][0] < 0
    assert f"0.002 [{low:.3f}, {high:.3f}]".replace("-", "−") in page
    assert low < 0 < high


def test_with_random_prbs_no_difference_by_messages_is_certain():
    rows = pd.read_csv(TUNE_CONFIGS / "results" / "ablation-prb" / "results.csv")
    reward = rows.pivot_table(index="seed", columns="policy", values="reward_mean")
    _, interval = paired_difference(
        reward["random_no_messages"].to_numpy(), reward["random"].to_numpy()
    )

    assert interval is not None
    assert interval[0] < 0 < interval[1]


LOST_STEPS = [
    # What the page says, the experiment, the arms and the numbers that the sentence gives for them.
    ("98 steps fewer below 0.95", "counterfactual-transfer", {"nearest": -98}),
    ("121 fewer when it learns from scratch", "counterfactual-transfer", {"scratch": -121}),
    ("85 and 32 fewer", "counterfactual-transfer", {"bare_nearest": -85, "bare_scratch": -32}),
    ("in 158 and 172 steps more", "transfer-hard", {"far_random": 158, "near": 172}),
    ("below 0.95 in 135, 163 and 209", "transfer-hard", {"far_mean_shift_25": 135,
        "far_mean_shift": 163, "far_mean_shift_500": 209}),
    ("instead of 616", "transfer-hard", {"drl": 616}),
    ("below 0.95 in 35", "ablation-transfer", {"integrated_less_noise": 35}),
    ("instead of 159", "ablation-transfer", {"integrated": 159}),
    ("177 more below 0.95", "paper", {"tl": 177}),
    ("616 more with DRL, and 53 fewer", "paper", {"drl": 616, "cf": -53}),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "folder", "lost"), LOST_STEPS)
def test_steps_below_the_sla_are_those_of_the_table(sentence, folder, lost):
    """Of a cell's first 1,000 steps, beyond those of the traffic-aware baseline."""
    page = " ".join((TUNE_CONFIGS / "README.md").read_text(encoding="utf-8").split())
    saved = read_summary(TUNE_CONFIGS / "results" / folder)["steps_saved"]

    assert sentence in page
    assert {arm: round(saved[arm]["lost"]["1000"]["mean"]) for arm in lost} == lost


def test_the_guard_ended_only_transfers_that_eq_7_had_chosen():
    transfers = pd.read_csv(TUNE_CONFIGS / "results" / "transfer-hard" / "transfers.csv")
    ended = transfers.groupby("arm")["harmful"].sum()

    assert ended["far_kl_paper"] == 6
    assert ended.sum() == 6
    assert (transfers["arm"] == "far_kl_paper").sum() == 120
    curves = pd.read_csv(TUNE_CONFIGS / "results" / "transfer-hard" / "curves.csv")
    guarded, unguarded = (
        curves[curves["arm"] == arm]["evaluated"].to_numpy()
        for arm in ("far_random", "far_unguarded")
    )
    assert np.array_equal(guarded, unguarded)


def test_no_wrong_model_makes_a_policy_worse_than_its_base_policy():
    """At any of the evaluated steps, for every arm of the robustness experiment."""
    found = read_summary(TUNE_CONFIGS / "results" / "robustness")["baseline_gains"]

    for steps in found.values():
        for row in steps.values():
            assert row["over_base_policy"]["ci95"][0] > 0


def test_the_farthest_source_is_not_above_the_baseline_at_first_and_no_source_differs_in_the_end():
    low, high = read_interval("paper", *gains("tl_farthest", 50))
    ends = [
        read_interval("paper", *gains(arm, 4000))
        for arm in ("tl", "tl_sla_first", "tl_random", "tl_farthest")
    ]

    assert low < 0 < high
    assert max(low for low, _ in ends) < min(high for _, high in ends)
