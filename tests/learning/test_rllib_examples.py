"""What RLlib's example scripts show, written anew with TD3Config in the place of their configs."""

import math

import numpy as np
import pytest
from mpe2 import simple_spread_v3
from ray import tune
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.tune.registry import register_env
from ray.tune.schedulers import ASHAScheduler

from slicing_rllib.learning import TD3, TD3Config

pytestmark = pytest.mark.usefixtures("unchecked")


def test_pettingzoo_with_one_policy_for_all_agents(ray_session):
    """Parameter sharing: three agents that spread out, one policy."""
    register_env(
        "spread_together",
        lambda config: ParallelPettingZooEnv(
            simple_spread_v3.parallel_env(continuous_actions=True, max_cycles=25)
        ),
    )
    config = (
        TD3Config()
        .environment("spread_together")
        .multi_agent(policies={"shared"}, policy_mapping_fn=lambda agent, episode: "shared")
        .training(gamma=0.95, exploration_steps=100, steps_per_iteration=150, squash="tanh")
    )
    algorithm = config.build_algo()
    result = algorithm.train()

    assert set(result["env_runners"]["module_episode_returns_mean"]) == {"shared"}
    assert set(result["env_runners"]["agent_episode_returns_mean"]) == {
        "agent_0",
        "agent_1",
        "agent_2",
    }
    # Every agent adds its transitions.
    assert algorithm.replay.size.tolist() == [450]


class MeasureAngle(RLlibCallback):
    """The mean angle of a pendulum in each episode, as a metric and as data of an evaluation."""

    def on_episode_start(self, *, episode, **rest):
        episode.custom_data["angles"] = []

    def on_episode_step(self, *, episode, **rest):
        cosine, sine, _ = episode.get_observations(-1)
        episode.custom_data["angles"].append(math.atan2(sine, cosine))

    def on_episode_end(self, *, episode, metrics_logger, **rest):
        angles = np.abs(episode.custom_data["angles"])
        assert len(angles) == len(episode) == 200
        metrics_logger.log_value("mean_angle", angles.mean(), window=10)


def test_callbacks_measure_in_training_and_in_evaluation(ray_session):
    """A user's own metric, in the results of both; evaluations after every second iteration."""
    config = (
        TD3Config()
        .environment("Pendulum-v1")
        .training(exploration_steps=250, steps_per_iteration=200)
        .callbacks(MeasureAngle)
        .evaluation(evaluation_interval=2, evaluation_duration=1)
    )
    algorithm = config.build_algo()
    results = [algorithm.train() for _ in range(2)]

    assert "evaluation" not in results[0]
    for found in (*results, results[1]["evaluation"]):
        assert 0 < found["env_runners"]["mean_angle"] < math.pi


def test_a_checkpoint_gives_back_the_algorithm_or_a_module_alone(ray_session, tmp_path):
    algorithm = TD3Config().environment("Pendulum-v1").build_algo()
    algorithm.train()
    path = algorithm.save_to_path(tmp_path / "checkpoint")
    # RLlib finds the class in the checkpoint.
    again = Algorithm.from_checkpoint(path)
    folder = tmp_path / "checkpoint" / "learner_group" / "learner" / "rl_module"
    module = RLModule.from_checkpoint(folder / "default_policy")
    weights = {name: p.detach().numpy() for name, p in module.named_parameters()}

    assert isinstance(again, TD3)
    assert again.iteration == 1
    for name, array in algorithm.policy_weights("default_policy").items():
        assert np.array_equal(array, weights[name])


@pytest.mark.slow
def test_tune_stops_compares_and_restores_trials(ray_session, tmp_path):
    """ASHA on the standard metric, a stop on the standard counter, a checkpoint at the end."""
    config = (
        TD3Config()
        .environment("Pendulum-v1")
        .training(
            actor_lr=tune.grid_search([1e-3, 1e-5]), exploration_steps=100, steps_per_iteration=100
        )
    )
    stop = {"num_env_steps_sampled_lifetime": 400}
    tuner = tune.Tuner(
        TD3,
        param_space=config,
        tune_config=tune.TuneConfig(
            metric="env_runners/episode_return_mean",
            mode="max",
            scheduler=ASHAScheduler(time_attr="training_iteration", grace_period=2, max_t=50),
        ),
        run_config=tune.RunConfig(
            name="asha",
            storage_path=str(tmp_path),
            stop=stop,
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
        ),
    )
    grid = tuner.fit()
    best = grid.get_best_result()
    restored = tune.Tuner.restore(str(tmp_path / "asha"), trainable=TD3).get_results()
    with best.checkpoint.as_directory() as folder:
        algorithm = TD3.from_checkpoint(folder)

    assert not grid.errors
    lifetimes = [result.metrics["num_env_steps_sampled_lifetime"] for result in grid]
    assert max(lifetimes) == 400
    assert all(math.isfinite(r.metrics["env_runners"]["episode_return_mean"]) for r in grid)
    assert len(restored) == 2
    assert algorithm.env_steps == best.metrics["num_env_steps_sampled_lifetime"]
    assert algorithm.config.actor_lr == best.config["actor_lr"]
    result = algorithm.train()
    assert result["num_env_steps_sampled_lifetime"] == algorithm.env_steps
