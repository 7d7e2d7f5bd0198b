"""What RLlib's users read from results."""

import math

import pytest

from slicing_rllib.learning import TD3

pytestmark = pytest.mark.usefixtures("unchecked")


def test_the_standard_results(config):
    """60 steps an iteration, episodes of 50."""
    algorithm = config.training(steps_per_iteration=60).build_algo()
    first, second = algorithm.train(), algorithm.train()
    runners = second["env_runners"]

    assert first["num_env_steps_sampled_lifetime"] == 60
    assert second["num_env_steps_sampled_lifetime"] == 120
    assert runners["num_env_steps_sampled"] == 60
    assert runners["num_episodes"] == 1
    assert runners["num_episodes_lifetime"] == 2
    assert runners["episode_len_mean"] == 50
    assert runners["num_agent_steps_sampled_lifetime"] == dict.fromkeys(algorithm.cells, 120)
    assert runners["num_module_steps_sampled"] == dict.fromkeys(algorithm.cells, 60)
    assert sum(runners["agent_episode_returns_mean"].values()) == pytest.approx(
        runners["episode_return_mean"]
    )
    assert second["learners"]["__all_modules__"]["num_env_steps_trained_lifetime"] == 61
    assert second["learners"]["cell_10"]["critic_loss"] > 0
    assert second["fault_tolerance"]["num_remote_worker_restarts"] == 0


def test_iterations_shorter_than_episodes_keep_the_last_return(config, tmp_path):
    """NaN before the first episode has ended: a scheduler must always find the metric."""
    algorithm = config.training(steps_per_iteration=30).build_algo()
    means = [algorithm.train()["env_runners"]["episode_return_mean"] for _ in range(3)]
    algorithm.save_to_path(tmp_path)
    resumed = TD3.from_checkpoint(tmp_path)
    results = [one.train() for one in (algorithm, resumed)]

    assert math.isnan(means[0])
    assert means[1] == means[2] > 0
    assert [result["num_env_steps_sampled_lifetime"] for result in results] == [120, 120]
    returns = [result["env_runners"]["episode_return_mean"] for result in results]
    assert returns[0] == returns[1] != means[2]
