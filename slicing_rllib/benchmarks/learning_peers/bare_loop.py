"""Training in a plain loop without Ray: simulator, replay buffer and stacked update only."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from slicing_rllib.benchmarks.learning_peers.peer import (
    BATCH_SIZE,
    REPLAY_CAPACITY,
    WARM_UP_STEPS,
    TimedPeer,
    get_network_sizes,
)
from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning.replay import Replay, make_transitions
from slicing_rllib.learning.stacked_networks import ParameterBank, forward
from slicing_rllib.learning.stacked_td3 import Batch, StackedTD3
from slicing_rllib.learning.td3_settings import TD3Settings
from slicing_rllib.radio import Scenario

ACTION_NOISE = 0.1
"""Standard deviation of the exploration noise that is added to the logits."""
MAX_INITIAL_PARAMETER = 0.2


class BareLoop(TimedPeer):
    """Alternates one network step and one update of all cells."""

    def __init__(
        self,
        env: SlicingEnv,
        update: Callable[[Batch], object],
        actor: Callable[[Tensor], Tensor],
    ) -> None:
        """Fills the replay buffer.

        Args:
            env: The network.
            update: Updates all cells with one batch, (cell, batch, ...).
            actor: Returns the logits (cell, action) for observations (cell, obs).
        """
        self._env = env
        self._replay = Replay(
            env.cells,
            env.obs_size,
            env.action_size,
            REPLAY_CAPACITY,
            outcome_size=env.outcome_size,
            feedback_size=env.feedback_size,
        )
        self._update, self._actor = update, actor
        self._rng = np.random.default_rng(0)
        self._columns = env.reset_columns(0)
        for _ in range(WARM_UP_STEPS):
            self._step()

    def train_briefly(self) -> int:
        self._step()
        n_cells = len(self._env.cells)
        sampled = self._replay.sample(self._rng.random((n_cells, BATCH_SIZE), np.float32))
        noise = self._rng.standard_normal((n_cells, BATCH_SIZE, self._env.action_size), np.float32)
        self._update(Batch(*map(torch.from_numpy, (*sampled[:-1], noise))))
        return 1

    def _step(self) -> None:
        before = self._columns
        with torch.no_grad():
            logits = self._actor(torch.from_numpy(before.obs))
        shape = (len(self._env.cells), self._env.action_size)
        noise = torch.from_numpy(self._rng.standard_normal(shape, np.float32))
        after = self._env.step_columns(torch.softmax(logits + ACTION_NOISE * noise, -1).numpy())
        self._replay.add(make_transitions(before, after), before.live & after.live)
        self._columns = self._env.reset_columns() if after.truncated.all() else after


def make_bare_loop(scenario: Scenario) -> BareLoop:
    """Returns a bare loop with this project's stacked update; shows what Ray adds in time."""
    env = SlicingEnv(scenario)
    bank = ParameterBank(len(scenario.cells), get_network_sizes(env))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameters in bank.flat.values():
            parameters.uniform_(-MAX_INITIAL_PARAMETER, MAX_INITIAL_PARAMETER, generator=generator)
    hyper = TD3Settings()
    stacked = StackedTD3(bank, hyper)
    layers = bank.layers("actor")
    update_numbers = itertools.count()

    def update(batch: Batch) -> None:
        stacked.update(batch, next(update_numbers))

    return BareLoop(env, update, lambda obs: forward(layers, obs[:, None])[0][:, 0])
