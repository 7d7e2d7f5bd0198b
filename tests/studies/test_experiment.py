"""Experiments: every arm is trained once per seed, and the report compares them."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import slicing_rllib
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.storage.errors import ConfigError
from slicing_rllib.studies import experiment as experiments
from slicing_rllib.studies.experiment import (
    MessageCallback,
    get_arm_folder,
    run_arm,
    run_experiment,
)
from slicing_rllib.studies.experiment_report import format_headline, write_experiment_report
from slicing_rllib.studies.score_files import make_marl_eval_scores, make_rliable_scores
from slicing_rllib.studies.study_configs import TUNE_CONFIGS, ExperimentConfig

pytestmark = pytest.mark.usefixtures("unchecked")

TINY = """
name: tiny
base: paper
seeds: 1
set: [learning.steps_per_iteration=25, learning.exploration_steps=25, learning.training_steps=50,
      env.default_action_steps=25, evaluation.steps=10, evaluation.seeds=1, transfer.vae.updates=30]
reference: drl
evaluation_steps: [25, 50]
baselines: [equal, oracle]
arms:
  drl: {}
  from_1: {kind: source_rotation, learns_from: drl, set: ["transfer.source=next:1"]}
  from_2: {kind: source_rotation, learns_from: drl, set: ["transfer.source=next:2"]}
  ppo: {learner: "sb3:PPO", title: PPO of SB3, set: ["env.default_action_steps=0"]}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("experiments") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def done(ray_session: None, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the finished experiment."""
    folder = tmp_path_factory.mktemp("tiny")
    run_experiment(ExperimentConfig.load(str(tiny)), folder, lambda text: None)
    return folder


@pytest.fixture(scope="module")
def reported(done: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the report of the finished experiment."""
    folder = tmp_path_factory.mktemp("report")
    write_experiment_report(done, folder)
    return folder


@pytest.fixture
def summary(reported: Path) -> dict:
    return json.loads((reported / "summary.json").read_text())


@pytest.fixture
def changed(reported: Path, tmp_path: Path) -> Callable[[dict, str], Path]:
    """A report with another summary, and another value of `shows`."""

    def change(summary: dict, shows: str) -> Path:
        shutil.copytree(reported, tmp_path, dirs_exist_ok=True)
        kept = yaml.safe_load((reported / "experiment.yaml").read_text()) | {"shows": shows}
        (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(kept))
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        return tmp_path

    return change


@pytest.mark.parametrize("path", sorted(TUNE_CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_the_experiments_of_the_checkout_are_valid(path: Path):
    assert ExperimentConfig.load(path.stem).arms


def test_every_arm_has_a_finished_run(done: Path):
    for arm in ("drl", "from_1", "from_2", "ppo"):
        assert (get_arm_folder(done, 0, arm) / "summary.json").is_file()


def test_a_finished_arm_is_not_trained_again(done: Path, tiny: Path):
    before = (get_arm_folder(done, 0, "drl") / "summary.json").stat().st_mtime_ns
    summary = run_arm(ExperimentConfig.load(str(tiny)), done, 0, "drl")

    assert (get_arm_folder(done, 0, "drl") / "summary.json").stat().st_mtime_ns == before
    assert summary["env_steps"] == 75


def test_a_seed_is_a_network_with_a_map_and_errors_of_its_own(tiny: Path):
    env = ExperimentConfig.load(str(tiny)).make_arm_config("drl", 3, None).env

    assert (env.map_seed, env.measurement_error.seed) == (3, 3)


def test_a_rotation_learns_from_the_kth_cell_after_the_target(done: Path):
    summary = json.loads((get_arm_folder(done, 0, "from_2") / "summary.json").read_text())

    assert summary["transfers"]["cell_3"]["source"] == "library:cell_5"
    assert summary["transfers"]["cell_12"]["source"] == "library:cell_2"


def test_the_report_has_tables_gains_measures_and_figures(reported: Path, summary: dict):
    assert set(summary["policies"]) == {"drl", "from_1", "from_2", "ppo", "equal", "oracle"}
    assert {"0", "25", "50"} == set(summary["gains"]["from_1"])
    assert {"kl_paper", "sla", "raw", "random", "worst", "best"} <= set(summary["measures"]["25"])
    best = summary["measures"]["25"]["best"]["regret"]["mean"]
    assert best == 0
    assert {
        "reward.png",
        "satisfaction.svg",
        "delay.png",
        "gain_over_distance.png",
        "reward_cpu.png",
    } <= {path.name for path in (reported / "figures").iterdir()}
    text = (reported / "report.md").read_text()
    assert "slicing-rllib experiment tiny --seeds 1" in text


def test_the_headline_shows_gains_where_the_experiment_says_so(summary: dict, changed):
    del summary["measures"]

    text = format_headline(changed(summary, "gains"))

    gain = summary["gains"]["from_1"]["50"]["evaluated"]["mean"]
    assert "| arm | 0 steps | 25 steps | 50 steps |" in text
    assert f"| {gain:+.3f}" in text
    assert "while learning" not in text


def test_the_headline_shows_gains_over_the_baseline_where_the_experiment_says_so(
    summary: dict, changed
):
    del summary["measures"]
    gain = {"mean": 0.0123, "ci95": None}
    summary["baseline_gains"]["drl"]["50"] |= {"reward": gain, "over_base_policy": gain}

    text = format_headline(changed(summary, "baseline_gains"))

    assert "Reward − that of the traffic-aware baseline, after own steps" in text
    assert "+0.012" in text
    assert "Reward − that of the base policy" in text


def test_a_learner_of_another_project_is_an_arm_with_its_cost(summary: dict, changed, done: Path):
    """Twelve PPOs on one network, from the first step on: rewards over steps and CPU seconds."""
    del summary["measures"]
    rows = RunDirectory(get_arm_folder(done, 0, "ppo")).metrics()

    assert [row["env_steps"] for row in rows] == [25, 50, 75]
    assert rows[1]["cpu_s"] > rows[0]["cpu_s"] > 0
    assert summary["costs"]["ppo"]["step"]["mean"] == 50
    assert "| PPO of SB3 | 50 |" in format_headline(changed(summary, "costs"))


def test_scores_are_in_the_forms_of_rliable_and_marl_eval(done: Path):
    results = slicing_rllib.load_experiment(done)
    scores, curves = make_rliable_scores(results), make_marl_eval_scores(results)
    ends = results.final.set_index("policy")["reward_mean"]

    assert {name: rows for name, rows in scores.items() if name == "ppo"} == {
        "ppo": [[ends["ppo"]]]
    }
    seed = curves["slicing"]["tiny"]["drl"]["seed_0"]
    steps = [point["step_count"] for name, point in seed.items() if name.startswith("step_")]
    assert steps == sorted(results.network_curves.loc[0, "drl"].index)
    assert seed["absolute_metrics"] == {"reward": [ends["drl"]]}
    assert {"reward", "reward_cpu", "gain"} <= set(slicing_rllib.plot_experiment(results))


def make_experiment(**changes) -> ExperimentConfig:
    return ExperimentConfig.model_validate({"name": "x", "seeds": 2, "arms": {"drl": {}}} | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": 5},
        {"arms": {"drl": {}, "tl": {"set": ["seed=1"]}}},
        {"shows": "gains"},
        {"shows": "baseline_gains"},
        {"arms": {"drl": {"title": "DRL"}}},
        {"arms": {"drl": {"kind": "source_measure"}}},
    ],
)
def test_seeds_arms_and_presentation_of_an_experiment_may_change(changes: dict):
    saved, wanted = make_experiment(), make_experiment(**changes)

    assert experiments._continues(saved, wanted)
    assert experiments._continues(wanted, saved)


@pytest.mark.parametrize("changes", [{"arms": {"drl": {"set": ["seed=1"]}}}, {"name": "y"}])
def test_an_arm_or_a_name_that_changes_is_another_experiment(changes: dict):
    assert not experiments._continues(make_experiment(), make_experiment(**changes))


def test_a_folder_of_another_experiment_is_refused(done: Path, tiny: Path, tmp_path: Path):
    other = tmp_path / "other.yaml"
    other.write_text(tiny.read_text().replace("training_steps=50", "training_steps=75"))
    with pytest.raises(ConfigError, match="holds another experiment"):
        run_experiment(ExperimentConfig.load(str(other)), done, lambda text: None)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            "reference: drl|reference: dlr",
            "reference: expected one of drl, from_1, from_2, ppo",
        ),
        ("learns_from: drl|learns_from: nobody", "learns_from: expected one of traffic_aware, drl"),
        ("seeds: 1|seds: 2", "unknown key seds, did you mean seeds"),
        (
            "arms:|arms:\n  none: {learns_from: traffic_aware, "
            "set: ['env.default_action_steps=80']}",
            "arms.none: the default action until step 80 leaves none of 75 steps",
        ),
        ("baselines: [equal, oracle]|baselines: [oracel]", "got 'oracel'"),
        ("exploration_steps=25|exploration_stps=25", "did you mean exploration_steps"),
        ("transfer.source=next:1|transfer.source=cell_2", "arms.from_1: expected learns_from and"),
    ],
)
def test_a_mistake_is_named_in_the_message(tiny: Path, tmp_path: Path, wrong: str, said: str):
    before, after = wrong.split("|")
    path = tmp_path / "wrong.yaml"
    path.write_text(tiny.read_text().replace(before, after, 1))
    with pytest.raises(ConfigError, match=said):
        ExperimentConfig.load(str(path))


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="expected a YAML file or one of ablation-messages"):
        ExperimentConfig.load("papre")


def test_an_unpickled_callback_ignores_messages():
    """Tune pickles its callbacks, but a terminal cannot be pickled."""
    messages: list[str] = []
    callback = MessageCallback(lambda text: messages.append(text))
    callback.on_message("first")

    pickle.loads(pickle.dumps(callback)).on_message("second")

    assert messages == ["first"]
