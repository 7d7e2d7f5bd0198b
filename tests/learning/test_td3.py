"""TD3 inside RLlib: it learns, repeats itself, resumes, and keeps cells apart."""

import numpy as np
import pytest
from ray.rllib.core.rl_module.rl_module import RLModule

from slicing_rllib.learning import TD3, NonFiniteUpdate

pytestmark = pytest.mark.usefixtures("unchecked")


def weights_of(algorithm):
    return {cell: algorithm.policy_weights(cell) for cell in algorithm.cells}


def same(one, other):
    return all(
        np.array_equal(one[cell][name], other[cell][name]) for cell in one for name in one[cell]
    )


def trained(config, iterations):
    algorithm = config.build_algo()
    for _ in range(iterations):
        algorithm.train()
    return algorithm


def test_a_known_optimum_is_learned(config):
    """The mean reward of policies without noise: at least .95 of 1."""
    config.training(exploration_steps=200, replay_capacity=2000, steps_per_iteration=400)
    algorithm = trained(config, 3)
    obs = algorithm.env.reset_batched(99).obs
    reward = algorithm.env.step_batched(algorithm.compute_actions(obs)).reward

    assert reward.mean() >= 0.95


def test_equal_seeds_give_equal_bits(config):
    assert same(weights_of(trained(config, 3)), weights_of(trained(config, 3)))


def test_the_reward_in_results_is_that_of_the_iteration(config):
    """Tune's schedulers compare trials by it, so it is no average over past iterations."""
    algorithm = config.build_algo()
    for _ in range(3):
        result = algorithm.train()
        reward = algorithm.last_iteration["reward_mean"]
        assert result["reward_mean"] == result["env_runners"]["reward_mean"] == reward


def test_other_seeds_give_other_weights(config):
    other = config.copy(copy_frozen=False).debugging(seed=4)

    assert not same(weights_of(trained(config, 1)), weights_of(trained(other, 1)))


def test_a_replay_of_half_precision_learns_nearly_the_same(config):
    single = weights_of(trained(config, 2))
    algorithm = trained(config.copy(copy_frozen=False).training(replay_precision="float16"), 2)
    half = weights_of(algorithm)

    assert algorithm.replay.state()["rows"].dtype == np.float16
    assert not same(single, half)
    for cell, networks in single.items():
        for name, weights in networks.items():
            assert half[cell][name] == pytest.approx(weights, abs=0.02)


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_resuming_equals_never_having_stopped(config, tmp_path, iterations):
    """Cut within exploration (50 of 60 steps), just after it, and in training."""
    algorithm = trained(config, iterations)
    algorithm.save_to_path(tmp_path)
    resumed = TD3.from_checkpoint(tmp_path)
    for one in (algorithm, resumed):
        for _ in range(2):
            one.train()

    assert same(weights_of(algorithm), weights_of(resumed))
    assert resumed.env_steps == algorithm.env_steps == 50 * (iterations + 2)
    assert resumed.updates == algorithm.updates
    assert resumed.last_iteration == algorithm.last_iteration


def test_a_module_loads_from_its_own_folder(config, tmp_path):
    algorithm = trained(config, 2)
    algorithm.save_to_path(tmp_path)
    folder = tmp_path / "learner_group" / "learner" / "rl_module" / "cell_10"
    module = RLModule.from_checkpoint(folder)

    loaded = {name: p.detach().numpy() for name, p in module.named_parameters()}
    assert same({"cell_10": algorithm.policy_weights("cell_10")}, {"cell_10": loaded})


def test_copied_weights_act_at_once_and_leave_others_alone(config):
    algorithm = trained(config, 2)
    before = weights_of(algorithm)
    algorithm.set_policy_weights("cell_2", before["cell_10"])
    after = weights_of(algorithm)
    obs = np.repeat(np.random.default_rng(0).random((1, 3), np.float32), 3, axis=0)
    action = algorithm.compute_actions(obs)

    assert np.array_equal(action[1], action[2])
    assert same({"cell_1": before["cell_1"]}, {"cell_1": after["cell_1"]})
    assert same({"cell_2": before["cell_10"]}, {"cell_2": after["cell_2"]})


def test_weights_of_another_shape_are_refused(config):
    algorithm = trained(config, 1)
    weights = algorithm.policy_weights("cell_1") | {"actor.0.bias": np.zeros(3)}

    with pytest.raises(ValueError, match=r"weights for cell_1: expected actor.0.bias of shape"):
        algorithm.set_policy_weights("cell_1", weights)


def test_a_sleeping_cell_stays_as_it_is(config):
    algorithm = trained(config, 2)
    before = weights_of(algorithm)
    algorithm.pause_updates("cell_2")
    algorithm.train()
    after = weights_of(algorithm)

    assert same({"cell_2": before["cell_2"]}, {"cell_2": after["cell_2"]})
    assert not same({"cell_1": before["cell_1"]}, {"cell_1": after["cell_1"]})


@pytest.mark.slow
def test_a_worker_acts_with_the_learners_weights(config):
    algorithm = trained(config.env_runners(num_env_runners=1), 2)
    algorithm._push_weights()
    theirs = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: {
            cell: {name: p.detach().numpy() for name, p in runner.module[cell].named_parameters()}
            for cell in runner.module.cells
        },
        local_env_runner=False,
    )
    ours = weights_of(algorithm)
    algorithm.stop()

    assert len(theirs) == 1
    assert same(theirs[0], ours)
    assert algorithm.env_steps == 100
    assert algorithm.updates > 0


def test_a_reward_that_is_no_number_names_its_cell(config):
    algorithm = config.build_algo()
    step = algorithm.env.step_batched

    def broken(action):
        batched = step(action)
        batched.reward[1] = np.nan
        return batched

    algorithm.env.step_batched = broken
    with pytest.raises(NonFiniteUpdate, match="cell_2: reward or loss is not finite"):
        algorithm.train()


@pytest.mark.slow
def test_resuming_with_a_worker_equals_never_having_stopped(config, tmp_path):
    """Its network goes on, and so do steps that were under way."""
    config.env_runners(num_env_runners=1).training(sample_async=True)
    whole = trained(config, 4)
    expected = weights_of(whole)
    # The test machine has room for one worker at a time.
    whole.stop()
    cut = trained(config, 2)
    cut.save_to_path(tmp_path)
    for _ in range(2):
        cut.train()
    continued = weights_of(cut)
    cut.stop()

    assert same(continued, expected)
    assert same(resumed_weights(tmp_path), expected)


@pytest.mark.slow
def test_resuming_with_a_worker_that_waits_for_the_learner(config, tmp_path):
    algorithm = trained(config.env_runners(num_env_runners=1), 2)
    algorithm.save_to_path(tmp_path)
    for _ in range(2):
        algorithm.train()
    continued = weights_of(algorithm)
    algorithm.stop()

    assert same(resumed_weights(tmp_path), continued)


def resumed_weights(checkpoint, iterations=2):
    resumed = TD3.from_checkpoint(checkpoint)
    for _ in range(iterations):
        resumed.train()
    weights = weights_of(resumed)
    resumed.stop()
    return weights
