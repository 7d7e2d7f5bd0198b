"""The tables of committed results agree with each other and with the pages that show them."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slicing_rllib.evaluation.statistics import paired_difference
from slicing_rllib.studies.marked_text import format_marked_text
from slicing_rllib.studies.study_configs import ExperimentConfig

TUNE_CONFIGS = Path(__file__).parents[1] / "tune_configs"
RESULTS = sorted(path.parent for path in TUNE_CONFIGS.glob("results/*/results.csv"))


def read_summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


WITH_GAINS = [folder for folder in RESULTS if read_summary(folder).get("gains")]
WITH_BASELINE = [folder for folder in RESULTS if "baseline_gains" in read_summary(folder)]
WITH_PAIRS = [folder for folder in RESULTS if (folder / "pairs.csv").is_file()]
MAX_TABLE_BYTES = 300_000


@pytest.mark.parametrize(
    "page", ["README.md", "tune_configs/README.md", "tune_configs/NOT_REPRODUCED.md"]
)
def test_sentences_and_tables_of_a_page_are_those_of_the_committed_results(page: str):
    """Numbers, and claims such as "no difference is certain", come from the results' files."""
    text = (TUNE_CONFIGS.parent / page).read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- begin (\S+) -->\n(.*?)\n<!-- end \1 -->", text, flags=re.DOTALL)

    assert blocks
    for name, written in blocks:
        if name in ("rules/paper", "variants/paper"):
            continue
        report, _, part = name.partition("/")
        assert written == format_marked_text(TUNE_CONFIGS / "results" / report, part)


def test_every_committed_result_has_its_place_on_the_page():
    text = (TUNE_CONFIGS / "README.md").read_text(encoding="utf-8")

    assert all(f"<!-- begin {folder.name} -->" in text for folder in RESULTS)


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
    reference = curves["evaluated"].loc[ExperimentConfig.load(folder / "experiment.yaml").reference]
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


def test_the_oracles_of_single_metrics_are_those_of_their_table():
    page = (TUNE_CONFIGS / "NOT_REPRODUCED.md").read_text(encoding="utf-8")
    table = pd.read_csv(TUNE_CONFIGS / "results" / "oracles-paper.csv")
    metrics = ("satisfaction_mean", "fail_rate_95", "delay_max_ms", "reward_mean")
    rows = [line for line in page.splitlines() if line.startswith("| `oracle")]

    assert len(rows) == 3
    for row in rows:
        values = table[table["policy"] == row.split("`")[1]]
        for metric, shown in zip(metrics, row.strip("|").split("|")[1:], strict=True):
            assert shown.split()[0] == f"{values[metric].mean():.3f}"


def format_rules_table() -> str:
    """Paired differences from the best simple rule, of the arms and the rules of `paper`."""
    arms = pd.read_csv(TUNE_CONFIGS / "results" / "paper" / "results.csv")
    rules = pd.read_csv(TUNE_CONFIGS / "results" / "simple-rules-paper.csv")
    both = pd.concat([arms, rules[~rules["policy"].isin(["traffic_aware", "pretrained"])]])
    lines = ["| policy | reward | points below 0.95 |", "| --- | --- | --- |"]
    for name in ("oracle", "cf", "pretrained", "pretrained_curves", "tl", "drl", "traffic_aware",
                 "best_static", "load_proportional"):  # fmt: skip
        cells = []
        for metric, scale, form in (("reward_mean", 1, "+.4f"), ("fail_rate_95", 100, "+.1f")):
            table = scale * both.pivot(index="seed", columns="policy", values=metric)
            ours, rule = table[name].to_numpy(), table["smoothed_persistence"].to_numpy()
            mean, (low, high) = paired_difference(ours, rule)
            cells.append(f"{mean:{form}} [{low:{form}}, {high:{form}}]")
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_first_page_quotes_every_gain_over_the_best_simple_rule():
    """The rules were evaluated later, on the same networks and traffic: shared rows are equal."""
    arms = pd.read_csv(TUNE_CONFIGS / "results" / "paper" / "results.csv")
    rules = pd.read_csv(TUNE_CONFIGS / "results" / "simple-rules-paper.csv")
    for name in ("traffic_aware", "pretrained"):
        ours, theirs = (table[table["policy"] == name].to_numpy()[:, 2:] for table in (rules, arms))
        assert ours.astype(float) == pytest.approx(theirs.astype(float), abs=2e-5)
    page = (TUNE_CONFIGS.parent / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(
        r"<!-- begin rules/paper -->\n(.*?)\n<!-- end rules/paper -->", page, flags=re.DOTALL
    )

    assert shown == format_rules_table()


def format_variants_table() -> str:
    """By variant of `paper` and policy, the share below 0.95 and its ratio to the baseline's."""
    table = pd.read_csv(TUNE_CONFIGS / "results" / "paper-variants.csv")
    lines = ["| network | policy | below 0.95 | ratio |", "| --- | --- | --- | --- |"]
    for scenario, rows in table.groupby("scenario"):
        shares = rows.pivot(index="seed", columns="policy", values="fail_rate_95")
        baseline = shares["traffic_aware"].to_numpy()
        for policy in ("traffic_aware", "smoothed_persistence", "pretrained", "pretrained_curves"):
            ours = shares[policy].to_numpy()
            ratio, (low, high) = paired_difference(ours / baseline, np.zeros(len(ours)))
            shown = "1" if policy == "traffic_aware" else f"{ratio:.2f} [{low:.2f}, {high:.2f}]"
            lines.append(f"| `{scenario}` | `{policy}` | {ours.mean():.3f} | {shown} |")
    return "\n".join(lines)


def test_the_more_predictable_variants_are_those_of_their_table():
    page = (TUNE_CONFIGS / "NOT_REPRODUCED.md").read_text(encoding="utf-8")
    (shown,) = re.findall(
        r"<!-- begin variants/paper -->\n(.*?)\n<!-- end variants/paper -->",
        page,
        flags=re.DOTALL,
    )

    assert shown == format_variants_table()


@pytest.mark.parametrize("folder", WITH_BASELINE, ids=lambda path: path.name)
def test_the_steps_until_the_baseline_are_those_of_the_curves(folder: Path):
    """The first evaluated step at which an arm reaches the baseline, default action included."""
    curves = pd.read_csv(folder / "curves.csv")
    curves["since_first"] = curves["step"] + curves["default_steps"]
    reached = curves[curves["evaluated"] >= curves["baseline"]]

    for arm, found in read_summary(folder)["steps_saved"].items():
        steps = reached[reached["arm"] == arm].groupby("seed")["since_first"].min()
        level = found["baseline"]
        assert len(steps) == level["reached"]
        median = np.median([*steps, *[np.inf] * (level["seeds"] - len(steps))])
        assert level["median"] == (median if np.isfinite(median) else None)


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


def test_there_are_results_of_every_kind():
    assert RESULTS
    assert WITH_GAINS
    assert WITH_PAIRS
