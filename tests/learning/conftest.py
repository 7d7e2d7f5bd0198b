"""A network whose best split is known, and one Ray for all tests that need it."""

import numpy as np
import pytest
import torch

from slicing_rllib.env import BatchedStep
from slicing_rllib.learning import TD3Config

BEST = {"cell_1": (0.7, 0.3), "cell_2": (0.4, 0.6), "cell_10": (0.2, 0.8)}


class KnownOptimum:
    """Each cell's reward is one less the distance from its best split: 1 at the optimum."""

    cells = ("cell_1", "cell_2", "cell_10")
    obs_size = 3
    action_size = 2
    counterfactual_inputs_size = reward_inputs_size = 0
    counterfactual = None

    def __init__(self, episode_steps=50):
        self._episode_steps = episode_steps
        self._best = np.array([BEST[cell] for cell in self.cells])

    def reset_batched(self, seed=None):
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._step = 0
        self._equal = np.full((3, 2), 0.5, np.float32)
        return self._batched(np.zeros(3), self._equal)

    def step_batched(self, action):
        self._step += 1
        share = action / action.sum(axis=1, keepdims=True)
        return self._batched(1.0 - np.abs(share - self._best).sum(axis=1) / 2, share)

    def _batched(self, reward, action):
        over = np.full(3, self._step >= self._episode_steps)
        everywhere = np.ones(3, bool)
        return BatchedStep(
            obs=self._rng.random((3, 3), np.float32),
            reward=reward.astype(np.float32),
            action=action.astype(np.float32),
            terminated=~everywhere,
            truncated=over,
            live=everywhere,
            controlled=everywhere,
            counterfactual_inputs=np.empty((3, 0), np.float32),
            reward_inputs=np.empty((3, 0), np.float32),
        )

    def checkpoint_state(self):
        return {"step": self._step, "rng": self._rng.bit_generator.state}

    def restore_state(self, state):
        self._step = state["step"]
        self._rng = np.random.default_rng()
        self._rng.bit_generator.state = state["rng"]


# Workers cannot import this file: a class of __main__ travels by value.
KnownOptimum.__module__ = "__main__"


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """As TD3 does for networks of this size; with more, products of batches differ in last bits."""
    torch.set_num_threads(1)


@pytest.fixture
def config(ray_session):
    """A small, quick TD3 on the known optimum."""
    return (
        TD3Config()
        .environment(KnownOptimum)
        .training(exploration_steps=60, replay_capacity=500, steps_per_iteration=50)
        .debugging(seed=3)
    )
