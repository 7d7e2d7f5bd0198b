"""What RLlib's users read from results, and what their callbacks are given."""

import math

import numpy as np
import pytest
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from slicing_rllib.learning import TD3, TD3Config

pytestmark = pytest.mark.usefixtures("unchecked")


class Notes(RLlibCallback):
    """Writes down what RLlib's callbacks get to see."""

    seen: dict = {}  # noqa: RUF012

    def on_algorithm_init(self, *, algorithm, metrics_logger, **rest):
        self.seen["init"] = (algorithm.env_steps, algorithm.module_ids, algorithm.iteration)

    def on_environment_created(self, *, env_runner, env, env_context, metrics_logger, **rest):
        self.seen.setdefault("envs", []).append((type(env).__name__, env_context.vector_index))

    def on_episode_created(self, *, episode, env_index, **rest):
        self.seen.setdefault("created", []).append(len(episode))

    def on_episode_step(self, *, episode, metrics_logger, **rest):
        if isinstance(episode, MultiAgentEpisode):
            first = episode.get_observations(-1)["cell_1"][0]
            metrics_logger.log_value("first_number", float(first), reduce="max")

    def on_episode_end(self, *, episode, prev_episode_chunks, metrics_logger, env, **rest):
        self.seen.setdefault("ends", []).append(episode)
        metrics_logger.log_value("own_return", episode.get_return(), reduce="mean", window=10)

    def on_sample_end(self, *, samples, **rest):
        self.seen.setdefault("samples", []).append([len(chunk) for chunk in samples])


@pytest.fixture
def notes():
    Notes.seen.clear()
    return Notes.seen


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


def test_callbacks_get_rllibs_episodes_of_all_agents(config, notes):
    algorithm = config.callbacks(Notes).training(steps_per_iteration=120).build_algo()
    result = algorithm.train()["env_runners"]
    episode = notes["ends"][0]

    assert notes["init"] == (0, algorithm.cells, 0)
    assert notes["envs"] == [("KnownOptimum", 0)]
    assert notes["created"] == [0, 0, 0]
    assert set(episode.agent_episodes) == set(algorithm.cells)
    assert episode.module_for("cell_10") == "cell_10"
    assert result["first_number"] <= 1
    assert result["own_return"] == pytest.approx(
        np.mean([ended.get_return() for ended in notes["ends"]])
    )
    # Chunks: 120 steps are two whole episodes and 20 steps of a third one.
    assert notes["samples"] == [[50, 50, 20]]


def test_an_episode_holds_what_happened(config):
    episodes = []
    config.callbacks(on_episode_end=lambda *, episode, **rest: episodes.append(episode))
    config.build_algo().train()
    agent = episodes[0].agent_episodes["cell_2"]

    assert len(agent) == 50
    assert agent.is_truncated
    assert not agent.is_terminated
    # Reward of this environment: one less the distance from the best split (.4, .6).
    actions = np.array(agent.get_actions())
    expected = 1 - np.abs(actions - [0.4, 0.6]).sum(axis=1) / 2
    assert np.array(agent.get_rewards()) == pytest.approx(expected, abs=1e-6)
    assert len(agent.get_observations()) == 51


def test_a_gymnasium_environment_has_single_agent_episodes(ray_session, notes):
    config = TD3Config().environment("Pendulum-v1").callbacks(Notes)
    algorithm = config.training(steps_per_iteration=250).build_algo()
    result = algorithm.train()["env_runners"]
    (episode,) = notes["ends"]

    assert isinstance(episode, SingleAgentEpisode)
    assert len(episode) == 200
    assert np.abs(episode.get_actions()).max() > 1
    assert result["agent_episode_returns_mean"] == {"default_agent": episode.get_return()}
    assert result["module_episode_returns_mean"] == {"default_policy": episode.get_return()}


def test_weights_are_read_and_set_as_in_rllib(config, tmp_path, monkeypatch):
    one, other = config.build_algo(), config.debugging(seed=9).build_algo()
    monkeypatch.chdir(tmp_path)
    other.set_weights(one.get_weights())
    obs = np.random.default_rng(0).random((3, 3), np.float32)
    other.save_to_path("relative")
    restored = TD3.from_checkpoint("relative")
    again = config.build_algo()
    again.restore_from_path("relative")

    assert set(one.get_weights(["cell_1"])) == {"cell_1"}
    expected = one.compute_actions(obs)
    for algorithm in (other, restored, again):
        assert np.array_equal(algorithm.compute_actions(obs), expected)
    assert one.get_module("cell_1") is one.td3_learner.module["cell_1"]
    assert one.get_module("cell_7") is None


def test_sampling_without_exploration(config):
    """Cells learn from their first steps on, and every step repeats what the policy says."""
    algorithm = config.env_runners(explore=False).training(steps_per_iteration=1).build_algo()
    for _ in range(3):
        before = algorithm.env_runner.sampled[0]
        before.start()
        expected = algorithm.compute_actions(before.batched.obs)
        algorithm.train()
        assert algorithm.replay.last("cell_1", 1).action[0] == pytest.approx(expected[0], abs=1e-6)
