"""When RLlib's callbacks are called, and what they are given."""

import numpy as np
import pytest
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from slicing_rllib.learning import TD3Config

pytestmark = pytest.mark.usefixtures("unchecked")


class Heard(RLlibCallback):
    """Writes down what it is told."""

    told: list = []  # noqa: RUF012

    def on_episode_start(self, *, episode, env_index, **rest):
        self.told.append(("start", env_index, len(episode)))

    def on_episode_step(self, *, episode, env_index, **rest):
        self.told.append(("step", env_index, len(episode)))

    def on_episode_end(self, *, episode, env_index, **rest):
        self.told.append(("end", env_index, len(episode), episode.get_return()))


def weights_of(algorithm):
    return [
        array.tobytes()
        for cell in algorithm.cells
        for array in algorithm.policy_weights(cell).values()
    ]


def test_episode_callbacks_are_fired(config):
    """Episodes have fifty steps: 120 steps are two whole ones and part of a third."""
    Heard.told.clear()
    algorithm = config.callbacks(Heard).training(steps_per_iteration=120).build_algo()
    algorithm.train()
    algorithm.stop()
    kinds = [event[0] for event in Heard.told]

    assert (kinds.count("start"), kinds.count("step"), kinds.count("end")) == (3, 120, 2)
    ends = [event for event in Heard.told if event[0] == "end"]
    assert [event[2] for event in ends] == [50, 50]
    assert all(0 < event[3] < 150 for event in ends)


def test_a_function_may_be_attached_as_well(config):
    """And what is attached changes nothing of what is learned."""
    steps = []
    heard = config.copy(copy_frozen=False).callbacks(
        on_episode_step=lambda *, episode, **rest: steps.append(episode.get_rewards(-1))
    )
    with_callback, without = heard.build_algo(), config.build_algo()
    for algorithm in (with_callback, without):
        for _ in range(3):
            algorithm.train()
    alike = weights_of(with_callback) == weights_of(without)
    for algorithm in (with_callback, without):
        algorithm.stop()

    assert len(steps) == 150
    assert alike


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
