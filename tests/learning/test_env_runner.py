"""Several networks in one runner, and RLlib's callbacks on what they do."""

import numpy as np
from ray.rllib.callbacks.callbacks import RLlibCallback


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


def test_several_networks_share_a_forward_pass(config):
    """Each has traffic of its own; each network step is an update."""
    algorithm = config.env_runners(num_envs_per_env_runner=3).build_algo()
    for _ in range(3):
        algorithm.train()
    first, second, _ = (sampled.batched.obs for sampled in algorithm.env_runner.sampled)
    taken = [sampled.steps for sampled in algorithm.env_runner.sampled]
    steps, updates = algorithm.env_steps, algorithm.updates
    algorithm.stop()

    assert not np.array_equal(first, second)
    assert taken == [51, 51, 51]
    assert steps == sum(taken)
    assert updates > 0


def test_several_networks_continue_bit_for_bit(config, tmp_path):
    config.env_runners(num_envs_per_env_runner=2)
    whole, cut, resumed = (config.copy(copy_frozen=False).build_algo() for _ in range(3))
    for _ in range(4):
        whole.train()
    for _ in range(2):
        cut.train()
    cut.save_to_path(str(tmp_path / "checkpoint"))
    resumed.restore_from_path(str(tmp_path / "checkpoint"))
    for _ in range(2):
        resumed.train()
    alike = weights_of(whole) == weights_of(resumed)
    for algorithm in (whole, cut, resumed):
        algorithm.stop()

    assert alike
