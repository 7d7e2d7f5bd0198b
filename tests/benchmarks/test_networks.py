"""Very different networks: what they are, the label check, and rows, goals and report by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from slicing_rllib.benchmarks import networks
from slicing_rllib.benchmarks.different_networks import make_networks
from slicing_rllib.benchmarks.networks import (
    PAST_ONLY,
    NetworksSettings,
    check_labels,
    compare,
    describe_goals,
    draw,
    format_report,
    predict_rewards,
    run,
)
from slicing_rllib.env import SlicingEnv
from slicing_rllib.policies import load_pretrained
from slicing_rllib.policies.trained_policy import BUILTIN_CURVES
from slicing_rllib.radio import make_scenario
from slicing_rllib.storage.errors import ConfigError

pytestmark = pytest.mark.usefixtures("unchecked")


def make_row(network: str, seed: int, learned: float, *, kind: str = "system") -> dict:
    """Simple policies have 0.5 to 0.54 of reward, the last one most."""
    policies = {name: [0.5 + 0.01 * n, 0.3] for n, name in enumerate(PAST_ONLY)}
    labels = {"closed_form": {"cases": 4, "right": 3, "error": 0.2, "change": 0.8}}
    return {
        "network": network, "kind": kind, "seed": seed,
        "settings": {"steps": 20, "label_steps": 5, "curves": "abc"},
        "policies": policies | {"pretrained": [0.4, 0.4], "per_slice@10": [learned, 0.2]},
        "labels": labels,
    }  # fmt: skip


def test_there_are_31_networks_of_the_built_in_simulator_and_two_others():
    kinds = [scenario.network.kind for scenario in make_networks().values()]
    assert (kinds.count("system"), kinds.count("tti")) == (31, 2)
    assert len({repr(scenario) for scenario in make_networks().values()}) == 33


def test_differences_are_those_from_the_best_simple_policy_of_each_network():
    rows = [make_row("a", 0, 0.56), make_row("a", 1, 0.58)]
    (compared,) = compare(rows)
    assert compared.best_simple == "best_static"
    assert compared.difference["per_slice@10"] == pytest.approx([0.02, 0.04])


def test_the_goal_allows_two_networks_and_asks_for_a_hundredth_on_average():
    gains = {"a": -0.01, "b": -0.02, "c": 0.1, "d": 0.1}
    rows = [make_row(name, 0, 0.54 + gain) for name, gain in gains.items()]
    met = describe_goals(compare(rows))[-1]
    assert "+0.0425 [-0.0633, +0.1483] from the best simple policy" in met
    assert "behind it in 2" in met
    assert "): met; behind in b (-0.020)" in met
    missed = describe_goals(compare([*rows, make_row("e", 0, 0.4)]))[-1]
    assert "): missed; behind in e (-0.140)" in missed


def test_the_report_has_tables_sentences_and_labels_by_kind_of_network():
    rows = [make_row("a", seed, 0.56) for seed in (0, 1)]
    rows += [make_row("b", 0, 0.5, kind="tti")]
    report = format_report(rows)
    assert "2 networks; seeds of each: 1 to 2; evaluations" in report
    assert "| a | best_static | 0.540 / 0.300 | 0.400 / 0.400 | 0.560 / 0.200 | +0.020" in report
    assert "| tti | closed_form | 4 | 75.0% | 0.050 | 0.200 |" in report
    assert draw(rows).axes


def test_rows_are_kept_and_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = NetworksSettings(seeds=1, steps=20, own_steps=(10,), label_steps=5)
    measured: list[str] = []

    def pretend(scenario, seed, settings):
        measured.append(scenario.name)
        return make_row(scenario.name, seed, 0.5) | {"settings": networks._identify(settings)}

    monkeypatch.setattr(networks, "measure", pretend)
    rows, names = tmp_path / "new" / "rows.jsonl", ["paper", "tti"]
    arguments = {"rows": rows, "on_message": lambda _: None}
    list(run(settings, networks=names[:1], **arguments))
    found = list(run(settings, networks=names, **arguments))
    assert measured == names == [row["network"] for row in found]
    assert [json.loads(line)["network"] for line in rows.read_text().splitlines()] == names
    with pytest.raises(ConfigError, match=r"rows\.jsonl: expected rows with"):
        list(run(NetworksSettings(steps=21), networks=names, **arguments))
    with pytest.raises(ConfigError, match=r"expected some of 'paper', .* got 'papre'"):
        list(run(settings, networks=["papre"], **arguments))


def test_the_page_shows_the_committed_rows():
    root = Path(__file__).parents[2]
    lines = (root / "tune_configs/results/networks/rows.jsonl").read_text(encoding="utf-8")
    page = (root / "slicing_rllib/benchmarks/README.md").read_text(encoding="utf-8")
    written = page.partition("<!-- begin networks -->\n")[2].partition("\n<!-- end networks -->")[0]
    assert written == format_report([json.loads(line) for line in lines.splitlines()])


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="own_steps: expected rising numbers"):
        NetworksSettings(own_steps=(10, 5))
    with pytest.raises(ValueError, match="steps: expected at least 1, got 0"):
        NetworksSettings(steps=0)


def test_the_closed_form_predicts_the_built_in_simulator_far_better_than_chance():
    busy = make_networks()["1.6 times the load"]
    env = SlicingEnv(busy, observation="response", map_seed=0)
    found = check_labels(env, 40, 1)
    closed, curves = found["closed_form"], found["curves"]
    assert closed["cases"] == curves["cases"] >= 20
    assert closed["right"] >= 0.9 * closed["cases"]
    assert curves["right"] >= 0.7 * curves["cases"]
    assert closed["error"] < 0.2 * closed["change"]


def test_curves_predict_a_lower_reward_for_a_starved_slice():
    env = SlicingEnv(make_scenario("paper"), observation="response", map_seed=0)
    obs = env.reset_batched(1).obs[0]
    splits = np.array([[0.25] * 4, [0.01, 0.33, 0.33, 0.33]])
    weights = load_pretrained(BUILTIN_CURVES).weights
    rewards = predict_rewards(weights, obs, splits)
    assert 0 < rewards[1] < rewards[0] <= 1


@pytest.mark.slow
def test_a_smallest_run_measures_every_policy(ray_session):
    settings = NetworksSettings(seeds=1, steps=5, own_steps=(20,), label_steps=5)
    paper, tti = run(settings, networks=["paper", "tti"], rows=None, on_message=lambda _: None)
    own = ("pretrained", "pretrained_curves", "per_slice@20")
    assert [*tti["policies"]] == [*PAST_ONLY, *own]
    assert [*paper["policies"]] == [*PAST_ONLY, *own, "from_scratch@20"]
    assert all(0 <= value <= 1 for pair in paper["policies"].values() for value in pair)
    assert format_report([paper, tti])
