"""Updates in further processes: each learner updates some of the cells, and none waits for another.

Cells share no gradient. A learner is a Ray task that receives its cells' networks and a number of
updates, and returns the networks. It keeps no state, so a task that is lost is simply run again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import ray
import torch

from slicing_rllib.env import CounterfactualReward
from slicing_rllib.learning.cell_update import CellUpdate, UpdateRequest
from slicing_rllib.learning.learner import TD3Learner
from slicing_rllib.learning.parameter_bank import NetworkSizes, ParameterBank
from slicing_rllib.learning.stacked_td3 import Batch, Hyperparameters, Losses, UpdateParts

DISPATCH_BYTES = 32 * 2**20
"""Size of the collected batches at which they are sent to the learners."""
MAX_RETRIES = 3


class _Shard(NamedTuple):
    """Some rows of one of the learner's parts."""

    part: CellUpdate
    rows: slice
    """Rows of the part's bank."""
    indices: Any
    """The same cells in the order of all cells."""


class PackedRequests(NamedTuple):
    """Update requests of some cells, (update, cell, ...) arrays."""

    batch: tuple[np.ndarray, ...]
    paused: np.ndarray
    actors_held: np.ndarray
    parts: np.ndarray
    """(update, 2) booleans of `UpdateParts`."""


class LearnerShards:
    """Collects updates, lets `n_learners` tasks make them, and takes the networks back."""

    def __init__(self, learner: TD3Learner, n_learners: int) -> None:
        """`learner` owns the networks between iterations."""
        self._learner, self._n_learners = learner, n_learners
        self._requests: list[UpdateRequest] = []
        self._bytes = 0
        self._frozen: Mapping[str, Sequence[str]] = {}
        self._network_refs: list[ray.ObjectRef] = []
        """Networks of each shard, while tasks have them."""
        self._loss_refs: list[list[ray.ObjectRef]] = []

    def submit(self, request: UpdateRequest, frozen: Mapping[str, Sequence[str]]) -> None:
        """Add one update; tasks start once enough bytes have been collected."""
        self._frozen = frozen
        self._requests.append(request)
        self._bytes += sum(array.nbytes for array in request.batch)
        if self._bytes >= DISPATCH_BYTES:
            self._dispatch()

    def finish(self) -> list[Losses]:
        """Wait for all tasks; afterwards the learner holds the same as if it had made the updates.

        Returns the losses of every update.
        """
        if self._requests:
            self._dispatch()
        if not self._network_refs:
            return []
        shards = self._split_cells()
        for shard, state in zip(shards, ray.get(self._network_refs), strict=True):
            shard.part.restore(state, shard.rows)
        losses = [
            np.concatenate(ray.get([chunk[index] for chunk in self._loss_refs]))
            for index in range(len(shards))
        ]
        self._network_refs, self._loss_refs = [], []
        return _merge_losses(losses, shards, len(self._learner.cell_order))

    def _dispatch(self) -> None:
        shards = self._split_cells()
        if not self._network_refs:
            self._network_refs = [ray.put(shard.part.state(shard.rows)) for shard in shards]
        losses = []
        for index, shard in enumerate(shards):
            self._network_refs[index], loss_ref = _update_remotely.remote(
                self._learner.hyperparameters,
                self._learner.counterfactual,
                shard.part.bank.sizes,
                shard.part.cells[shard.rows],
                self._frozen,
                self._network_refs[index],
                _pack_requests(self._requests, shard.indices),
            )
            losses.append(loss_ref)
        self._loss_refs.append(losses)
        self._requests, self._bytes = [], 0

    def _split_cells(self) -> list[_Shard]:
        """Every part's cells, evenly over the learners."""
        shards = []
        for part, where in self._learner.parts:
            all_indices = np.arange(len(self._learner.cell_order))[where]
            for rows in np.array_split(np.arange(len(part.cells)), self._n_learners):
                if len(rows):
                    own = slice(int(rows[0]), int(rows[-1]) + 1)
                    shards.append(_Shard(part, own, all_indices[own]))
        return shards


def _pack_requests(requests: Sequence[UpdateRequest], indices: np.ndarray) -> PackedRequests:
    own = [request.select(indices) for request in requests]
    return PackedRequests(
        tuple(np.stack(column) for column in zip(*(request.batch for request in own), strict=True)),
        np.stack([request.paused for request in own]),
        np.stack([request.actors_held for request in own]),
        np.array([request.parts for request in own]),
    )


def _merge_losses(
    losses: Sequence[np.ndarray], shards: Sequence[_Shard], n_cells: int
) -> list[Losses]:
    """Losses of all cells, update by update; 0 where a cell has no module."""
    merged = torch.zeros(len(losses[0]), 2, n_cells)
    for values, shard in zip(losses, shards, strict=True):
        merged[:, :, shard.indices] = torch.tensor(values)
    return [Losses(critic, actor) for critic, actor in merged]


def update_cells(
    hyperparameters: Hyperparameters,
    counterfactual: CounterfactualReward | None,
    sizes: NetworkSizes,
    cells: tuple[str, ...],
    frozen: Mapping[str, Sequence[str]],
    state: Mapping[str, np.ndarray],
    requests: PackedRequests,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Networks after these updates, and their losses (update, critic or actor, cell)."""
    torch.set_num_threads(1)
    update = CellUpdate(cells, ParameterBank(len(cells), sizes), hyperparameters, counterfactual)
    update.restore(state)
    update.freeze(frozen)
    losses = []
    for *batch, paused, held, parts in zip(
        *requests.batch, requests.paused, requests.actors_held, requests.parts, strict=True
    ):
        tensors = Batch(*(torch.tensor(array) for array in batch))
        request = UpdateRequest(tensors, paused, held, UpdateParts(*parts.tolist()))
        losses.append(torch.stack(update.update(request)).numpy())
    return update.state(), np.stack(losses)


# Ray finds the task's function by its module and name, so that no code has to travel.
_update_remotely: Any = ray.remote(num_cpus=1, num_returns=2, max_retries=MAX_RETRIES)(update_cells)
