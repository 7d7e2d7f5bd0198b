"""One algorithm on environments of four projects: what RLlib's users do works on each.

The table in `slicing_rllib/learning/README.md` says the same.
"""

import json
import math

import numpy as np
import pytest
import torch
from mpe2 import simple_spread_v3
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.rllib.examples.envs.classes.multi_agent import MultiAgentPendulum
from ray.tune.registry import register_env

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.radio import make_scenario

pytestmark = pytest.mark.usefixtures("unchecked")

EPISODE_STEPS = {"gymnasium": 200, "pettingzoo": 25, "rllib": 200, "slicing": 50}


def make_spread(config):
    env = simple_spread_v3.parallel_env(continuous_actions=True, max_cycles=25)
    return ParallelPettingZooEnv(env)


@pytest.fixture(params=list(EPISODE_STEPS))
def foreign(request, ray_session):
    """A config on an environment of that project, and the steps of its episodes."""
    register_env("spread", make_spread)
    register_env("pendula", lambda config: MultiAgentPendulum(config))
    arguments = {
        "gymnasium": ("Pendulum-v1", {}),
        "pettingzoo": ("spread", {}),
        "rllib": ("pendula", {"num_agents": 2}),
        "slicing": (SlicingEnv, {"scenario": make_scenario("paper"), "episode_steps": 50}),
    }
    env, env_config = arguments[request.param]
    config = (
        TD3Config()
        .environment(env, env_config=env_config)
        .training(exploration_steps=100, replay_capacity=1000, steps_per_iteration=220)
    )
    return config, EPISODE_STEPS[request.param]


def test_it_trains_evaluates_calls_back_and_resumes(foreign, tmp_path, monkeypatch):
    config, episode_steps = foreign
    monkeypatch.chdir(tmp_path)
    returns = []
    config.callbacks(on_episode_end=lambda *, episode, **rest: returns.append(episode.get_return()))
    algorithm = config.evaluation(evaluation_duration=2).build_algo()
    before = {policy: algorithm.policy_weights(policy) for policy in algorithm.module_ids}
    result = algorithm.train()
    n_training = len(returns)
    evaluated = algorithm.evaluate()["env_runners"]
    algorithm.save_to_path("checkpoint")
    resumed = TD3.from_checkpoint("checkpoint")
    obs = np.zeros((len(algorithm.cells), algorithm.env.obs_size), np.float32)

    assert result["num_env_steps_sampled_lifetime"] == 220
    assert n_training == 220 // episode_steps
    assert result["env_runners"]["num_episodes"] == n_training
    assert result["env_runners"]["episode_len_mean"] == episode_steps
    assert math.isfinite(result["env_runners"]["episode_return_mean"])
    assert evaluated["num_episodes"] == 2
    for policy, networks in before.items():
        after = algorithm.policy_weights(policy)
        assert not np.array_equal(after["actor.0.weight"], networks["actor.0.weight"])
        assert result["learners"][policy]["critic_loss"] >= 0
    assert np.array_equal(resumed.compute_actions(obs), algorithm.compute_actions(obs))
    assert resumed.train()["num_env_steps_sampled_lifetime"] == 440
    for one in (algorithm, resumed):
        one.stop()


# Env runners on Gymnasium environments are tested in test_env_runner.py, those on our own network
# in test_td3.py. RLlib's environments have the same adapter as PettingZoo's.
@pytest.mark.parametrize("foreign", ["pettingzoo"], indirect=True)
@pytest.mark.slow
def test_a_worker_samples_it(foreign):
    config, _ = foreign
    algorithm = config.env_runners(num_env_runners=1).build_algo()
    result = algorithm.train()
    algorithm.stop()

    assert result["num_env_steps_sampled_lifetime"] == 220
    assert result["env_runners"]["num_episodes"] > 0
    assert algorithm.updates == 121 * algorithm.config.updates_per_step


def test_modules_answer_in_the_environments_units(ray_session):
    """As RLlib's users load and ask them: without an algorithm, in bounds, in the space's shape."""
    algorithm = TD3Config().environment("Pendulum-v1").build_algo()
    module = algorithm.get_module()
    weights = algorithm.policy_weights("default_policy")
    large = {name: array * 100 for name, array in weights.items()}
    algorithm.set_policy_weights("default_policy", large)
    obs = np.random.default_rng(0).uniform(-1, 1, (64, 3)).astype(np.float32)
    actions = module.forward_inference({"obs": torch.from_numpy(obs)})["actions"].detach().numpy()
    normalised = algorithm.compute_actions(obs[:1])

    assert actions.shape == (64, 1)
    assert np.abs(actions).max() == pytest.approx(2.0, abs=1e-3)
    assert actions[0] == pytest.approx(2 * normalised[0], abs=1e-5)


def test_results_can_be_written_as_json(ray_session):
    algorithm = TD3Config().environment("Pendulum-v1").build_algo()
    result = algorithm.train()["env_runners"]

    assert json.loads(json.dumps(result, default=float))["num_episodes"] == 0
