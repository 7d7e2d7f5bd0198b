"""Cells get and lose policies while others learn; networks of several widths side by side."""

import gc

import numpy as np
import psutil
import pytest

from slicing_rllib.learning import TD3

pytestmark = pytest.mark.usefixtures("unchecked")

OTHERS = ("cell_1", "cell_10")
NARROW = {"cell_2": {"actor_hiddens": (8,), "critic_hiddens": (9, 7)}}
CYCLES = 100
STEPS_PER_CYCLE = 50
MOST_GROWTH_BYTES = 8 * 2**20


def weights_of(algorithm, cells):
    return {
        (cell, name): array
        for cell in cells
        for name, array in algorithm.policy_weights(cell).items()
    }


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


def trained(config, iterations):
    algorithm = config.build_algo()
    for _ in range(iterations):
        algorithm.train()
    return algorithm


def test_a_cell_with_networks_of_its_own_learns_beside_the_others(config):
    """And these learn what they would have learned."""
    plain = trained(config, 3)
    mixed = trained(config.copy(copy_frozen=False).training(networks=NARROW), 3)
    before = weights_of(mixed, ["cell_2"])
    mixed.train()
    plain.train()

    assert mixed.policy_weights("cell_2")["actor.0.bias"].shape == (8,)
    assert not same(before, weights_of(mixed, ["cell_2"]))
    assert same(weights_of(plain, OTHERS), weights_of(mixed, OTHERS))


def test_networks_of_several_widths_resume_bit_for_bit(config, tmp_path):
    config.training(networks=NARROW)
    algorithm = trained(config, 2)
    algorithm.save_to_path(tmp_path)
    resumed = TD3.from_checkpoint(tmp_path)
    for one in (algorithm, resumed):
        one.train()

    cells = algorithm.cells
    assert same(weights_of(algorithm, cells), weights_of(resumed, cells))


def test_a_cell_without_a_policy_asks_for_equal_shares(config):
    """The others learn on as if nothing had happened."""
    whole, without = trained(config, 2), trained(config, 2)
    without.remove_module("cell_2")
    for algorithm in (whole, without):
        algorithm.train()
    obs = np.zeros((3, 3), np.float32)

    assert without.module_ids == OTHERS
    assert without.compute_actions(obs)[1].tolist() == [0.5, 0.5]
    assert same(weights_of(whole, OTHERS), weights_of(without, OTHERS))
    assert whole.last_iteration["cells"]["cell_1"] == without.last_iteration["cells"]["cell_1"]


def test_a_policy_that_is_added_starts_anew_and_learns(config):
    first = weights_of(config.build_algo(), ["cell_2"])
    algorithm = trained(config, 2)
    algorithm.remove_module("cell_2")
    algorithm.add_module("cell_2")
    row = algorithm.cell_states.row("cell_2")

    assert same(first, weights_of(algorithm, ["cell_2"]))
    assert algorithm.replay.size[row] == 0
    assert algorithm.cell_states.exploration_left[row] == 60
    for _ in range(3):
        algorithm.train()
    assert not same(first, weights_of(algorithm, ["cell_2"]))


def test_what_cannot_be_added_or_removed_is_refused(config):
    algorithm = config.build_algo()

    with pytest.raises(ValueError, match="cell_1: has a policy already"):
        algorithm.add_module("cell_1")
    with pytest.raises(KeyError, match="no cell 'cell_7'"):
        algorithm.add_module("cell_7")
    algorithm.remove_module("cell_1")
    algorithm.remove_module("cell_2")
    for cell in ("cell_1", "cell_10"):
        with pytest.raises(ValueError, match="expected one of several cells"):
            algorithm.remove_module(cell)


def test_a_checkpoint_knows_which_cells_had_policies(config, tmp_path):
    """Cut right after a cell went, and right after it came again."""
    algorithm = trained(config, 2)
    for number, change in enumerate((algorithm.remove_module, algorithm.add_module)):
        change("cell_2")
        algorithm.save_to_path(tmp_path / str(number))
        resumed = TD3.from_checkpoint(tmp_path / str(number))
        for one in (algorithm, resumed):
            for _ in range(2):
                one.train()

        assert resumed.module_ids == algorithm.module_ids
        assert same(
            weights_of(algorithm, algorithm.module_ids), weights_of(resumed, algorithm.module_ids)
        )


@pytest.mark.slow
def test_workers_have_the_new_policy_at_once(config):
    """RLlib drops weights that it takes for old: these must not be."""
    algorithm = trained(config.env_runners(num_env_runners=1), 2)
    algorithm.remove_module("cell_2")
    algorithm.train()
    algorithm.add_module("cell_2")
    algorithm.set_policy_weights("cell_2", algorithm.policy_weights("cell_1"))
    algorithm._push_weights()
    ((cells, theirs),) = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: (
            runner.module.cells,
            {n: p.detach().numpy() for n, p in runner.module["cell_2"].named_parameters()},
        ),
        local_env_runner=False,
    )
    ours = algorithm.policy_weights("cell_1")
    algorithm.train()
    algorithm.stop()

    assert tuple(cells) == algorithm.cells
    assert all(np.array_equal(ours[name], array) for name, array in theirs.items())


@pytest.mark.slow
def test_a_hundred_comings_and_goings_leave_nothing_behind(config):
    """After a tenth of them, what is reserved once is reserved."""
    algorithm = trained(config.training(steps_per_iteration=STEPS_PER_CYCLE), 1)
    memory = psutil.Process().memory_info
    for cycle in range(CYCLES):
        algorithm.remove_module("cell_2")
        algorithm.train()
        algorithm.add_module("cell_2")
        if cycle == CYCLES // 10:
            gc.collect()
            before = memory().rss
    gc.collect()

    assert algorithm.env_steps == (CYCLES + 1) * STEPS_PER_CYCLE
    assert memory().rss - before < MOST_GROWTH_BYTES


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"actor_hiddens": (8, 8)}, "actor.0.weight has shape .*; other actor_hiddens"),
        ({"critic_hiddens": (8,)}, "critic_1.0.weight has shape .*; other critic_hiddens"),
    ],
)
def test_a_checkpoint_of_other_networks_names_the_setting(config, tmp_path, settings, message):
    config.build_algo().save_to_path(tmp_path)
    other = config.copy(copy_frozen=False).training(**settings).build_algo()
    with pytest.raises(ValueError, match=message):
        other.restore_from_path(tmp_path)


def test_a_checkpoint_of_other_agents_names_the_setting(config, tmp_path):
    config.build_algo().save_to_path(tmp_path)
    other = config.copy(copy_frozen=False).environment("Pendulum-v1", env_config={}).build_algo()
    message = r"the environment, default_agent, got cell_1, cell_2, cell_10; environment\(\.\.\.\)"
    with pytest.raises(ValueError, match=message):
        other.restore_from_path(tmp_path)
