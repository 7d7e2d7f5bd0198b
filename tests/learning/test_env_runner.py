"""Several environments in a runner, those that raise errors, and those that cannot save a state."""

from collections import Counter

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.learning.env_runner import EnvFailure, EnvironmentFailed, count_failures


def weights_of(algorithm):
    return [
        array.tobytes()
        for cell in algorithm.cells
        for array in algorithm.policy_weights(cell).values()
    ]


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


class Fragile(gymnasium.Env):
    """Raises an error at every `fails_at`-th step of its life. It cannot save its state."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, config):
        self.fails_at, self.steps = config.get("fails_at", 10**9), 0

    def reset(self, *, seed=None, options=None):
        gymnasium.Env.reset(self, seed=seed)
        return self.np_random.random(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps == self.fails_at:
            raise KeyError("a wire came loose")
        return self.np_random.random(2, np.float32), 1.0, False, self.steps % 20 == 0, {}


# Workers cannot import this file: a class of __main__ travels by value.
Fragile.__module__ = "__main__"


@pytest.fixture
def fragile(ray_session):
    return (
        TD3Config()
        .environment(Fragile)
        .training(exploration_steps=10, replay_capacity=200, steps_per_iteration=30)
        .fault_tolerance(delay_between_env_runner_restarts_s=0)
    )


def test_in_one_process_the_error_is_that_of_the_environment(fragile):
    algorithm = fragile.environment(env_config={"fails_at": 17}).build_algo()

    with pytest.raises(KeyError, match="a wire came loose"):
        algorithm.train()


def test_single_environments_are_made_anew_if_asked_for(fragile):
    fragile.environment(env_config={"fails_at": 17})
    algorithm = fragile.fault_tolerance(restart_failed_sub_environments=True).build_algo()
    result = algorithm.train()
    event, *_ = algorithm.take_events()

    # The failing round makes no step: 17th, and the 17th of the next environment's.
    assert algorithm.env_steps == 29
    assert result["env_runners"]["num_env_step_failures"] == 1
    assert event.kind == "environment_failed"
    assert event.message == "step of env runner 0: KeyError: 'a wire came loose'"


@pytest.mark.slow
def test_without_restarts_train_raises_what_a_worker_reports(fragile):
    fragile.environment(env_config={"fails_at": 17}).env_runners(num_env_runners=1)
    algorithm = fragile.fault_tolerance(restart_failed_env_runners=False).build_algo()

    with pytest.raises(EnvironmentFailed, match="env runner 1: KeyError: 'a wire") as raised:
        algorithm.train()
    algorithm.stop()
    assert isinstance(raised.value.__cause__, KeyError)


@pytest.mark.slow
def test_with_restarts_a_worker_goes_on_and_a_limit_ends_the_run(fragile):
    """Every third step fails, so every request of 30 steps does: two are tolerated."""
    fragile.environment(env_config={"fails_at": 3}).env_runners(num_env_runners=1)
    algorithm = fragile.fault_tolerance(
        num_consecutive_env_runner_failures_tolerance=2
    ).build_algo()
    results = [algorithm.train() for _ in range(2)]
    events = [event.kind for event in algorithm.take_events()]
    with pytest.raises(EnvironmentFailed, match="a wire came loose") as raised:
        algorithm.train()
    algorithm.stop()

    # A request ends with its first error; the two steps before it count.
    assert [result["num_env_steps_sampled_lifetime"] for result in results] == [2, 4]
    assert results[1]["env_runners"]["num_env_step_failures"] == 2
    assert events.count("environment_failed") == 2
    assert "tolerance=2 failures in a row" in raised.value.__notes__[0]


def test_only_failures_in_a_row_count():
    failure = EnvFailure("x", None, is_restarted=True)
    in_a_row = Counter()
    for failures in ([failure], [], [failure], []):
        count_failures(in_a_row, 1, 1, failures)
    count_failures(in_a_row, 1, 1, [failure])
    count_failures(in_a_row, 1, 2, [failure])

    with pytest.raises(EnvironmentFailed):
        count_failures(in_a_row, 1, 1, [failure])


def test_a_checkpoint_without_the_environments_state_says_so_once(fragile, tmp_path, caplog):
    """Everything else is restored; the environment begins a new episode."""
    algorithm = fragile.build_algo()
    algorithm.train()
    for number in range(2):
        algorithm.save_to_path(tmp_path / str(number))
    resumed = TD3.from_checkpoint(tmp_path / "1")
    said = [r.message for r in caplog.records if "cannot save its state" in r.message]
    row = resumed.cell_states.row("default_policy")

    assert said == ["environment Fragile cannot save its state; a resumed run resets it"]
    assert resumed.env_steps == 30
    assert resumed.replay.size[row] == algorithm.replay.size[row] > 0
    weights = algorithm.policy_weights("default_policy")
    assert np.array_equal(
        resumed.policy_weights("default_policy")["actor.0.weight"], weights["actor.0.weight"]
    )
    with pytest.raises(RuntimeError, match=r"start\(\) comes before"):
        _ = resumed.env_runner.sampled[0].batched
    assert resumed.train()["num_env_steps_sampled_lifetime"] == 60


@pytest.mark.slow
def test_a_worker_without_state_can_be_checkpointed_too(fragile, tmp_path):
    algorithm = fragile.env_runners(num_env_runners=1).build_algo()
    algorithm.train()
    algorithm.save_to_path(tmp_path)
    results = [algorithm.train()]
    algorithm.restore_from_path(tmp_path)
    results.append(algorithm.train())
    algorithm.stop()

    for result in results:
        assert result["num_env_steps_sampled_lifetime"] == 60
        assert result["fault_tolerance"]["num_healthy_workers"] == 1
        assert result["fault_tolerance"]["num_remote_worker_restarts"] == 0


class Remembers(Fragile):
    """With our methods for checkpoints beside Gymnasium's methods, it is continued."""

    def checkpoint_state(self):
        return {"steps": self.steps, "rng": self.np_random.bit_generator.state}

    def restore_state(self, state):
        self.steps = state["steps"]
        self.np_random.bit_generator.state = state["rng"]


def test_an_environment_that_can_save_its_state_is_continued_bit_for_bit(fragile, tmp_path):
    algorithm = fragile.environment(Remembers).build_algo()
    algorithm.train()
    algorithm.save_to_path(tmp_path)
    resumed = TD3.from_checkpoint(tmp_path)
    for one in (algorithm, resumed):
        one.train()
    weights, again = (one.policy_weights("default_policy") for one in (algorithm, resumed))

    assert all(np.array_equal(weights[name], again[name]) for name in weights)


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
