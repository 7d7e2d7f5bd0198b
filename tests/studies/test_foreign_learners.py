"""Learners of other projects as arms: they train and repeat themselves.

The report of such an arm is tested in test_experiment.py.
"""

import json
from pathlib import Path

import pytest
import yaml

from slicing_rllib.storage.errors import ConfigError, RunError
from slicing_rllib.studies.experiment import run_arm
from slicing_rllib.studies.foreign import training
from slicing_rllib.studies.study_configs import LEARNERS, ExperimentConfig

pytestmark = pytest.mark.usefixtures("unchecked")

TINY = {
    "name": "tiny-peers",
    "base": "paper",
    "seeds": 1,
    "set": [
        "env.default_action_steps=0", "learning.exploration_steps=0",
        "learning.training_steps=50", "learning.steps_per_iteration=25", "evaluation.steps=5",
        "evaluation.seeds=1", "evaluation.curve_seeds=1", "evaluation.every_steps=100000",
    ],
    "reference": "ours",
    "evaluation_steps": [25, 50],
    "baselines": ["equal"],
    "arms": {"ours": {}, "sb3_ppo": {"learner": "sb3:PPO"}},
}  # fmt: skip


def write_experiment(folder: Path, **arm: object) -> ExperimentConfig:
    path = folder / "peers.yaml"
    arms = TINY["arms"] if not arm else {"ours": {}, "other": arm}
    path.write_text(yaml.safe_dump(TINY | {"arms": arms}, sort_keys=False), encoding="utf-8")
    return ExperimentConfig.load(str(path))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*Overriding environment")
@pytest.mark.parametrize("policies", ["shared", "per_cell"])
@pytest.mark.parametrize("learner", [name for name in LEARNERS if name != "sb3:PPO"])
def test_other_learners_train(ray_session, tmp_path, learner, policies):
    experiment = write_experiment(tmp_path, learner=learner, policies=policies)
    summary = run_arm(experiment, tmp_path, 0, "other")

    assert 0 < next(iter(summary["policies"].values()))["reward_mean"] < 1
    assert json.dumps(summary, allow_nan=False)


@pytest.mark.slow
def test_learners_per_cell_repeat_themselves(tmp_path):
    """They run in threads, one after the other."""
    experiment, rewards = write_experiment(tmp_path), []
    for name in "ab":
        (tmp_path / name).mkdir()
        summary = run_arm(experiment, tmp_path / name, 0, "sb3_ppo")
        rewards.append(next(iter(summary["policies"].values()))["reward_mean"])

    assert rewards[0] == rewards[1]


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ({"learner": "sb3:PPP"}, "arms.other.learner: expected one of sb3:PPO"),
        ({"policies": "shared"}, "arms.other.policies: expected a learner beside it"),
        ({"learner": "sb3:PPO", "learns_from": "ours"}, "all cells under their own policy"),
    ],
)
def test_an_arm_that_cannot_be_trained_is_refused(tmp_path, arm, said):
    with pytest.raises(ConfigError, match=said):
        write_experiment(tmp_path, **arm)


def test_a_package_that_is_missing_is_named_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(training, "find_spec", lambda package: None)

    with pytest.raises(RunError, match="expected the package torchrl, which pip install"):
        training.require_learner("torchrl:MAPPO")
