"""Updates on other cores and nodes: each learner has some of the cells, and none waits for another.

Cells share no gradient. A learner is a Ray task: it is handed its cells' networks and a number of
updates, and hands them back. It keeps nothing, so that one that is lost is simply done again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import ray
import torch

from slicing_rllib.learning.cell_update import CellUpdate, UpdateRequest
from slicing_rllib.learning.learner import TD3Learner
from slicing_rllib.learning.parameter_bank import NetworkSizes, ParameterBank
from slicing_rllib.learning.stacked_td3 import Batch, Hyperparameters, Losses

HAND_OVER_BYTES = 32 * 2**20
"""Of batches, before learners are given them."""
TRIES = 3


class _Shard(NamedTuple):
    """Some rows of one of the learner's parts."""

    part: CellUpdate
    rows: slice
    """Of the part's bank."""
    places: Any
    """In the order of all cells."""


class LearnerShards:
    """Collects updates, has them made by `n_learners`, and brings the networks home again."""

    def __init__(self, learner: TD3Learner, n_learners: int) -> None:
        self._learner, self._n_learners = learner, n_learners
        self._orders: list[UpdateRequest] = []
        self._bytes = 0
        self._frozen: Mapping[str, Sequence[str]] = {}
        self._away: list[ray.ObjectRef] = []
        """Networks of each shard while learners have them."""
        self._losses: list[list[ray.ObjectRef]] = []

    def take(self, order: UpdateRequest, frozen: Mapping[str, Sequence[str]]) -> None:
        """One more update; learners start when there is enough to do."""
        self._frozen = frozen
        self._orders.append(order)
        self._bytes += sum(array.nbytes for array in order.batch)
        if self._bytes >= HAND_OVER_BYTES:
            self._hand_over()

    def finish(self) -> list[Losses]:
        """Waits until all is done. The learner is as if it had made every update itself."""
        if self._orders:
            self._hand_over()
        if not self._away:
            return []
        shards = self._shards()
        for shard, state in zip(shards, ray.get(self._away), strict=True):
            shard.part.restore(state, shard.rows)
        found = [
            np.concatenate(ray.get([chunk[index] for chunk in self._losses]))
            for index in range(len(shards))
        ]
        self._away, self._losses = [], []
        for part, _ in self._learner.parts:
            part.stacked.updates = self._learner.updates
        return _everywhere(found, shards, len(self._learner.order))

    def _hand_over(self) -> None:
        shards = self._shards()
        if not self._away:
            self._away = [ray.put(shard.part.state(shard.rows)) for shard in shards]
        losses = []
        for index, shard in enumerate(shards):
            self._away[index], lost = _learners.remote(
                self._learner.hyperparameters,
                shard.part.bank.sizes,
                shard.part.cells[shard.rows],
                self._frozen,
                self._learner.updates,
                self._away[index],
                _packed(self._orders, shard.places),
            )
            losses.append(lost)
        self._losses.append(losses)
        self._learner.updates += len(self._orders)
        self._orders, self._bytes = [], 0

    def _shards(self) -> list[_Shard]:
        """Every part's cells, evenly over the learners."""
        shards = []
        for part, where in self._learner.parts:
            all_places = np.arange(len(self._learner.order))[where]
            for rows in np.array_split(np.arange(len(part.cells)), self._n_learners):
                if len(rows):
                    some = slice(int(rows[0]), int(rows[-1]) + 1)
                    shards.append(_Shard(part, some, all_places[some]))
        return shards


def _packed(orders: Sequence[UpdateRequest], places: np.ndarray) -> tuple[np.ndarray, ...]:
    """(update, cell, ...) of some cells: the batch's arrays, then who sleeps and who is held."""
    some = [order.of(places) for order in orders]
    columns = zip(*((*order.batch, order.paused, order.actors_held) for order in some), strict=True)
    return tuple(np.stack(column) for column in columns)


def _everywhere(
    found: Sequence[np.ndarray], shards: Sequence[_Shard], n_cells: int
) -> list[Losses]:
    """Losses of all cells, update by update; 0 where a cell has no module."""
    losses = torch.zeros(len(found[0]), 2, n_cells)
    for values, shard in zip(found, shards, strict=True):
        losses[:, :, shard.places] = torch.tensor(values)
    return [Losses(critic, actor) for critic, actor in losses]


def learn(
    hyperparameters: Hyperparameters,
    sizes: NetworkSizes,
    cells: tuple[str, ...],
    frozen: Mapping[str, Sequence[str]],
    updates: int,
    state: Mapping[str, np.ndarray],
    packed: tuple[np.ndarray, ...],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Networks after these updates, and (update, critic or actor, cell) losses."""
    torch.set_num_threads(1)
    update = CellUpdate(cells, ParameterBank(len(cells), sizes), hyperparameters)
    update.restore(state)
    update.stacked.updates = updates
    update.freeze(frozen)
    losses = []
    for *batch, paused, held in zip(*packed, strict=True):
        order = UpdateRequest(Batch(*(torch.tensor(array) for array in batch)), paused, held)
        losses.append(torch.stack(update.update(order)).numpy())
    return update.state(), np.stack(losses)


# Under a name of its own: Ray then finds the function by its module, and sends no code.
_learners: Any = ray.remote(num_cpus=1, num_returns=2, max_retries=TRIES)(learn)
