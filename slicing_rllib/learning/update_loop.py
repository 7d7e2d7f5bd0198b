"""Draws a batch per cell, and makes one update of all cells that are ready."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from slicing_rllib.learning.cell_state import CellStates
from slicing_rllib.learning.cell_update import UpdateRequest
from slicing_rllib.learning.learner import TD3Learner
from slicing_rllib.learning.learner_shards import LearnerShards
from slicing_rllib.learning.random_streams import CellStreams, Purpose, draw_normal, draw_uniform
from slicing_rllib.learning.replay import Replay
from slicing_rllib.learning.stacked_td3 import Batch, Losses


class UpdateLoop:
    """Owns the number of updates, and the random streams that depend on it."""

    def __init__(
        self,
        config: Any,
        cells: Sequence[str],
        replay: Replay,
        source_replay: Replay,
        cell_states: CellStates,
        learner: TD3Learner,
    ) -> None:
        """`replay` is the cells' experience, `source_replay` that of other cells kept apart.

        `config` is the algorithm's: its seed, batch size and number of learners count.
        """
        self._replay, self._source_replay = replay, source_replay
        self._cell_states, self._learner = cell_states, learner
        seed, batch = config.seed or 0, (config.batch_size,)
        action_size = replay.action_size
        self._batch_picks = CellStreams(seed, Purpose.BATCH, cells, batch, draw_uniform)
        self._mixing = CellStreams(seed, Purpose.MIXING, cells, (2, *batch), draw_uniform)
        self._smoothing = CellStreams(
            seed, Purpose.SMOOTHING, cells, (*batch, action_size), draw_normal
        )
        self._shards = LearnerShards(learner, config.num_learners) if config.num_learners else None
        self.updates = 0
        """Updates so far; a cell that was not ready did not take part."""

    def update(self, ready: Bool[np.ndarray, " cell"]) -> list[Losses]:
        """One update of the cells that are ready; its losses, unless it is made elsewhere."""
        request = UpdateRequest(
            batch=self._sample_batch(),
            paused=~ready,
            actors_held=ready & (self._cell_states.actor_delay_updates > 0),
            parts=self._learner.hyperparameters.plan_update(self.updates),
        )
        self.updates += 1
        self._cell_states.count_update()
        if self._shards:
            self._shards.submit(request, self._cell_states.frozen_parameters)
            return []
        return [self._learner.update_stacked(request)]

    def finish(self) -> list[Losses]:
        """Wait for updates that other processes make; their losses."""
        return self._shards.finish() if self._shards else []

    def _sample_batch(self) -> Batch:
        """A batch per cell: its own experience, mixed with that of sources where asked for."""
        columns = list(self._replay.sample(self._batch_picks.at(self.updates))[:-1])
        share = np.where(self._source_replay.size > 0, self._cell_states.source_share, 0.0)
        if share.any():
            columns = self._mix_sources(columns, share)
        noise = self._smoothing.at(self.updates)
        return Batch(*map(torch.from_numpy, (*columns, noise)))

    def _mix_sources(self, own: Sequence[np.ndarray], share: np.ndarray) -> list[np.ndarray]:
        """Replace a random `share` of each cell's batch by transitions of its sources."""
        mixed, pick = self._mixing.at(self.updates).swapaxes(0, 1)
        from_sources = self._source_replay.sample(pick)
        chosen = mixed < share[:, None]
        return [
            np.where(chosen if a.ndim == 2 else chosen[..., None], b, a)
            for a, b in zip(own, from_sources[:-1], strict=True)
        ]
