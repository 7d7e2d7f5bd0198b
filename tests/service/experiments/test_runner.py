"""Experiments: arms by seeds, nothing done twice, and the report."""

import json
from pathlib import Path

import pytest
import yaml

from slicing_rllib.service.errors import ConfigError
from slicing_rllib.service.experiments import runner as experiments
from slicing_rllib.service.experiments.config import EXPERIMENTS, load_experiment
from slicing_rllib.service.experiments.report import headline, write_experiment_report
from slicing_rllib.service.experiments.runner import arm_folder, run_experiment

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
  from_1: {learns_from: drl, set: ["transfer.source=next:1"]}
  from_2: {learns_from: drl, set: ["transfer.source=next:2"]}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("experiments") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def done(ray_session: None, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment, run."""
    folder = tmp_path_factory.mktemp("tiny")
    run_experiment(load_experiment(str(tiny)), folder, lambda text: None)
    return folder


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda p: p.stem)
def test_experiments_that_come_along_can_be_run(path: Path):
    assert load_experiment(path.stem).arms


def test_every_arm_leaves_a_run(done: Path):
    for arm in ("drl", "from_1", "from_2"):
        assert (arm_folder(done, 0, arm) / "summary.json").is_file()


def test_what_is_done_is_not_done_again(done: Path, tiny: Path):
    before = (arm_folder(done, 0, "drl") / "summary.json").stat().st_mtime_ns
    run_experiment(load_experiment(str(tiny)), done, lambda text: None)

    assert (arm_folder(done, 0, "drl") / "summary.json").stat().st_mtime_ns == before


def test_an_arm_learns_from_the_cell_it_was_told_to(done: Path):
    summary = json.loads((arm_folder(done, 0, "from_2") / "summary.json").read_text())

    assert summary["transfers"]["cell_3"]["source"] == "library:cell_5"
    assert summary["transfers"]["cell_12"]["source"] == "library:cell_2"


def test_the_report_has_tables_gains_measures_and_figures(done: Path, tmp_path: Path):
    report = write_experiment_report(done, tmp_path)
    summary = report.summary

    assert set(summary["policies"]) == {"drl", "from_1", "from_2", "equal", "oracle"}
    assert {"0", "25", "50"} == set(summary["gains"]["from_1"])
    assert {"kl_paper", "sla", "raw", "random", "worst", "best"} <= set(summary["measures"]["25"])
    best = summary["measures"]["25"]["best"]["regret"]["mean"]
    assert best == 0
    assert {"reward.png", "satisfaction.svg", "delay.png", "gain_over_distance.png"} <= {
        path.name for path in report.files
    }
    text = (tmp_path / "report.md").read_text()
    assert "slicing-rllib experiment tiny --seeds 1" in text


def test_a_readme_gets_gains_where_ends_cannot_be_compared(done: Path, tmp_path: Path):
    summary = write_experiment_report(done, tmp_path).summary
    del summary["measures"]
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    kept = tmp_path / "experiment.yaml"
    kept.write_text(yaml.safe_dump(yaml.safe_load(kept.read_text()) | {"shows": "gains"}))

    told = headline(tmp_path)

    gain = summary["gains"]["from_1"]["50"]["evaluated"]["mean"]
    assert "| arm | 0 steps | 25 steps | 50 steps |" in told
    assert f"| {gain:.3f}" in told
    assert "while learning" not in told


def test_more_seeds_and_arms_continue_an_experiment():
    there = {"name": "x", "seeds": 2, "arms": {"drl": {"set": []}}}
    more = {"name": "x", "seeds": 5, "arms": {"drl": {"set": []}, "tl": {"set": ["seed=1"]}}}
    changed = {"name": "x", "seeds": 5, "arms": {"drl": {"set": ["seed=1"]}}}

    assert experiments._continues(there, more)
    assert experiments._continues(more, there)
    assert experiments._continues(there, more | {"shows": "gains"})
    assert experiments._continues(there, {**there, "arms": {"drl": {"set": [], "title": "DRL"}}})
    assert not experiments._continues(there, changed)
    assert not experiments._continues(there, more | {"name": "y"})


def test_another_experiment_is_not_mixed_in(done: Path, tiny: Path, tmp_path: Path):
    other = tmp_path / "other.yaml"
    other.write_text(tiny.read_text().replace("training_steps=50", "training_steps=75"))
    with pytest.raises(ConfigError, match="holds another experiment"):
        run_experiment(load_experiment(str(other)), done, lambda text: None)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("reference: drl|reference: dlr", "reference: expected an arm, got 'dlr'"),
        ("learns_from: drl|learns_from: nobody", "learns_from: expected one of traffic_aware, drl"),
        ("seeds: 1|seds: 2", "unknown key seds, did you mean seeds"),
        ("baselines: [equal, oracle]|baselines: [oracel]", "got 'oracel'"),
        ("exploration_steps=25|exploration_stps=25", "did you mean exploration_steps"),
    ],
)
def test_a_mistake_is_named(tiny: Path, tmp_path: Path, wrong: str, said: str):
    before, after = wrong.split("|")
    path = tmp_path / "wrong.yaml"
    path.write_text(tiny.read_text().replace(before, after, 1))
    with pytest.raises(ConfigError, match=said):
        load_experiment(str(path))


def test_a_name_that_is_none_lists_those_there_are():
    with pytest.raises(ConfigError, match="expected a YAML file or one of ablation-messages"):
        load_experiment("papre")
