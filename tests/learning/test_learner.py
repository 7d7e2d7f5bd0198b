"""Learners that share the cells give the same bits as one that has them all; threads."""

import contextlib
import threading
import time

import numpy as np
import psutil
import pytest

from slicing_rllib.env import ActorForm
from slicing_rllib.learning.learner import count_update_flops
from slicing_rllib.learning.stacked_networks import NetworkSizes

RUNNERS = pytest.mark.parametrize("num_env_runners", [0, pytest.param(1, marks=pytest.mark.slow)])


def weights_after(config, iterations=3, prepare=lambda algorithm: None):
    algorithm = config.build_algo()
    prepare(algorithm)
    for _ in range(iterations):
        algorithm.train()
    weights = {
        (cell, name): array
        for cell in algorithm.cells
        for name, array in algorithm.policy_weights(cell).items()
    }
    losses = algorithm.last_iteration
    algorithm.stop()
    return weights, losses


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


@RUNNERS
def test_two_learners_give_the_weights_and_losses_of_none(config, num_env_runners):
    """Where a cell is paused and an actor waits for its critics, too."""

    def prepare(algorithm):
        algorithm.pause_updates("cell_10")
        algorithm.cell_states.actor_delay_updates[algorithm.cell_states.row("cell_1")] = 20
        algorithm.freeze("cell_2", ["actor.0"])

    config.env_runners(num_env_runners=num_env_runners)
    alone = weights_after(config, prepare=prepare)
    shared = weights_after(config.copy(copy_frozen=False).learners(num_learners=2), prepare=prepare)

    assert same(alone[0], shared[0])
    assert alone[1] == shared[1]
    assert "critic_loss" in shared[1]["cells"]["cell_1"]


@pytest.mark.slow
def test_cells_with_networks_of_their_own_are_shared_out_as_well(config):
    config.training(networks={"cell_2": {"actor_hiddens": (8,), "critic_hiddens": (9, 7)}})
    alone, _ = weights_after(config)
    shared, _ = weights_after(config.copy(copy_frozen=False).learners(num_learners=2))

    assert same(alone, shared)


@pytest.mark.slow
def test_a_learner_that_is_killed_is_done_again(config):
    """With -9 in the middle of its updates; the result is the same."""
    config.training(steps_per_iteration=80, updates_per_step=150)
    alone, _ = weights_after(config, iterations=1)
    killed = []

    def kill_one():
        while not killed:
            for process in psutil.Process().children(recursive=True):
                # Others come and go meanwhile.
                with contextlib.suppress(psutil.Error):
                    if "ray::update_cells" in " ".join(process.cmdline()):
                        process.kill()
                        killed.append(process.pid)
                        return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    shared, _ = weights_after(config.copy(copy_frozen=False).learners(num_learners=1), iterations=1)

    assert killed
    assert same(alone, shared)


def test_operations_of_an_update_are_counted_by_hand():
    """Actor 2-3-1: 13 parameters; critics 3-1: 4. 2 * 5 transitions * (8 * 4 + 4 * 13) = 840."""
    sizes = NetworkSizes((2, 3, 1), (3, 1), ActorForm(1))

    assert count_update_flops(sizes, batch_size=5) == 840
