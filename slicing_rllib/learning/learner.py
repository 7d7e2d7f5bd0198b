"""Updates: batches are drawn, and all cells that are ready are updated at once.

`UpdateLoop` draws a batch per cell; `TD3Learner`, RLlib's Learner for all cells, has one stacked
update per parameter bank instead of one loss per module.

With `num_learners`, Ray tasks make the updates, each those of some cells. Cells share no gradient,
so no task waits for another. A task receives its cells' networks and a number of batches and
returns the networks; it keeps no state, so a task that is lost is simply run again.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import ray
import torch
from jaxtyping import Bool
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from slicing_rllib.env import CounterfactualReward
from slicing_rllib.learning.replay import Replay
from slicing_rllib.learning.rl_module import BankedMultiRLModule, indices
from slicing_rllib.learning.sampled_env import CellStates
from slicing_rllib.learning.stacked_networks import NetworkSizes, ParameterBank, list_layer_shapes
from slicing_rllib.learning.stacked_td3 import Adam, Batch, Losses, StackedTD3
from slicing_rllib.learning.td3_settings import TD3Settings
from slicing_rllib.random_streams import CellStreams, Stream, draw_normal, draw_uniform

DISPATCH_BYTES = 32 * 2**20
"""Size of the collected batches at which they are sent to the learners."""
MAX_RETRIES = 3
FEWEST_FLOPS_FOR_THREADS = 9.5e7
"""Floating-point operations of an update below which torch uses one thread. In smaller updates,
threads cost more than they gain: measured up to ten times as much on a busy machine. 48 cells of
the paper's networks are just above."""


class UpdateLoop:
    """Owns the number of updates, and the random streams that depend on it."""

    def __init__(
        self,
        config: Any,
        cells: Sequence[str],
        replay: Replay,
        source_replay: Replay,
        cell_states: CellStates,
        learner: "TD3Learner",
    ) -> None:
        """`replay` is the cells' experience, `source_replay` that of other cells kept apart.

        `config` is the algorithm's: its seed, batch size and number of learners count.
        """
        self._replay, self._source_replay = replay, source_replay
        self._cell_states, self._learner = cell_states, learner
        seed, batch = config.seed or 0, (config.batch_size,)
        noise = (*batch, replay.action_size)
        self._batch_picks = CellStreams(seed, Stream.BATCH, cells, batch, draw_uniform)
        self._mixing = CellStreams(seed, Stream.MIXING, cells, (2, *batch), draw_uniform)
        self._smoothing = CellStreams(seed, Stream.SMOOTHING, cells, noise, draw_normal)
        self._shards = LearnerShards(learner, config.num_learners) if config.num_learners else None
        self.updates = 0
        """Updates so far; a cell that was not ready did not take part."""

    def update(self, ready: Bool[np.ndarray, " cell"]) -> list[Losses]:
        """One update of the cells that are ready; its losses, unless it is made elsewhere."""
        number, batch = self.updates, self._sample_batch(ready)
        self.updates += 1
        self._cell_states.count_update()
        if self._shards:
            self._shards.submit(batch, number)
            return []
        return [self._learner.update_stacked(batch, number)]

    def finish(self) -> list[Losses]:
        """Wait for updates that other processes make; their losses."""
        return self._shards.finish() if self._shards else []

    def _sample_batch(self, ready: Bool[np.ndarray, " cell"]) -> Batch:
        """A batch per cell: its own experience, mixed with that of sources where asked for."""
        states = self._cell_states
        sampled = self._replay.sample(self._batch_picks.at(self.updates))[:-1]
        share = np.where(self._source_replay.size > 0, states.source_share, 0.0)
        if share.any():
            # A random `share` of each cell's batch is replaced by transitions of its sources.
            mixed, pick = self._mixing.at(self.updates).swapaxes(0, 1)
            others = self._source_replay.sample(pick)[:-1]
            chosen = mixed < share[:, None]
            sampled = [
                np.where(chosen if own.ndim == 2 else chosen[..., None], other, own)
                for own, other in zip(sampled, others, strict=True)
            ]
        noise, paused_actors = self._smoothing.at(self.updates), states.actor_delay_updates > 0
        return Batch(*map(torch.from_numpy, (*sampled, noise, ~ready, ready & paused_actors)))


class LearnedBank(NamedTuple):
    """Cells whose networks have the same widths."""

    cells: tuple[str, ...]
    """Names of the bank's rows."""
    stacked: StackedTD3
    """The bank, its optimisers, and the update of both."""
    indices: Any
    """Where the cells stand in batches."""


class TD3Learner(TorchLearner):
    """Holds the parameter banks, their optimisers, and their updates."""

    def build(self) -> None:
        """Build RLlib's module, and move it into banks; `prepare` makes the updates."""
        super().build()
        self.counterfactual: CounterfactualReward | None = None
        """The environment's counterfactual reward, if it offers one."""
        self.cell_order: tuple[str, ...] = ()
        """The order of cells in batches."""
        self.frozen: Mapping[str, Sequence[str]] = {}
        """By cell, prefixes of the names of parameters that no update changes."""
        self.banks: list[LearnedBank] = []
        # RLlib may have moved each module to its device by itself, out of its bank.
        self.banked.rebuild_banks()

    @property
    def settings(self) -> TD3Settings:
        """Those of the algorithm's config."""
        config: Any = self.config
        return config.settings

    @property
    def banked(self) -> BankedMultiRLModule:
        """The module of all cells' modules."""
        module = self.module
        assert isinstance(module, BankedMultiRLModule)
        return module

    def prepare(
        self, cells: Sequence[str], counterfactual: CounterfactualReward | None = None
    ) -> None:
        """Set the order of cells in batches (some may have no module), and what they may climb.

        Raises: ValueError where `actor_objective` needs a counterfactual reward and there is none.
        """
        self.cell_order, self.counterfactual = tuple(cells), counterfactual
        self._build_updates()

    def update_stacked(self, batch: Batch, number: int) -> Losses:
        """The update of that number, from 0, of all cells that have a module."""
        by_bank = [own.stacked.update(batch.select(own.indices), number) for own in self.banks]
        if len(by_bank) == 1 and isinstance(self.banks[0].indices, slice):
            return by_bank[0]
        critic, actor = torch.zeros(
            (2, len(self.cell_order)), device=by_bank[0].critic.device
        ).unbind()
        for losses, own in zip(by_bank, self.banks, strict=True):
            critic[own.indices], actor[own.indices] = losses
        return Losses(critic, actor)

    def freeze(self, frozen: Mapping[str, Sequence[str]]) -> None:
        """From now on, keep a cell's parameters whose names begin with one of these prefixes."""
        self.frozen = frozen
        for cells, stacked, _ in self.banks:
            stacked.freeze({row: frozen[c] for row, c in enumerate(cells) if c in frozen})

    def find_adams(self, cell: str) -> tuple[int, tuple[Adam, Adam]]:
        """A cell's row, and the optimisers of its actor and its critics.

        Raises: KeyError for a cell without a module.
        """
        for cells, stacked, _ in self.banks:
            if cell in cells:
                return cells.index(cell), (stacked.actor_adam, stacked.critic_adam)
        raise KeyError(f"no module {cell!r}")

    def add_module(self, **arguments: Any) -> Any:
        """RLlib's, and the other cells keep their optimiser state."""
        with self._rebuild_updates():
            return super().add_module(**arguments)

    def remove_module(self, module_id: str, **arguments: Any) -> Any:
        """RLlib's, and the other cells keep their optimiser state."""
        # RLlib looks each module's optimisers up by name and expects to find some.
        self._module_optimizers.setdefault(module_id, [])
        with self._rebuild_updates():
            return super().remove_module(module_id, **arguments)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register none with RLlib: the stacked update has optimisers of its own."""

    def compute_loss_for_module(self, **kwargs: Any) -> torch.Tensor:
        """Not used. Raises: NotImplementedError."""
        raise NotImplementedError("TD3Learner updates all modules at once: see update_stacked")

    @contextmanager
    def _rebuild_updates(self) -> Iterator[None]:
        kept = self._get_optimizer_state()
        yield
        self._build_updates()
        self._set_optimizer_state(kept)

    def _build_updates(self) -> None:
        order, settings = self.cell_order or self.banked.cells, self.settings
        self.banks = [
            LearnedBank(
                group.cells,
                StackedTD3(group.bank, settings, self.counterfactual),
                indices(group.cells, order),
            )
            for group in self.banked.groups
        ]
        self.freeze(self.frozen)

    def _get_optimizer_state(self) -> dict[str, Any]:
        """Optimiser tensors of each bank, with the names of its cells."""
        return {
            "parts": [
                {"cells": list(cells)}
                | {name: t.cpu().numpy().copy() for name, t in stacked.optimiser_tensors.items()}
                for cells, stacked, _ in self.banks
            ]
        }

    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        for cells, stacked, _ in self.banks:
            for saved in state["parts"]:
                _copy_optimiser_rows(saved, cells, stacked.optimiser_tensors)


def _copy_optimiser_rows(
    saved: Mapping[str, Any], cells: Sequence[str], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Copy the rows of cells that are in both, if their networks have the same widths."""
    saved_rows = {cell: row for row, cell in enumerate(saved["cells"])}
    pairs = [(row, saved_rows[cell]) for row, cell in enumerate(cells) if cell in saved_rows]
    have_same_shapes = all(saved[name].shape[1:] == t.shape[1:] for name, t in tensors.items())
    if not pairs or not have_same_shapes:
        return
    own, others = np.array(pairs).T
    for name, tensor in tensors.items():
        tensor[own] = torch.tensor(saved[name][others], device=tensor.device)


class _Shard(NamedTuple):
    """Some rows of one of the learner's banks."""

    stacked: StackedTD3
    rows: slice
    frozen: Mapping[int, Sequence[str]]
    """By row of the shard, prefixes of names of parameters that do not change."""
    indices: np.ndarray
    """The same cells in the order of all cells."""


class LearnerShards:
    """Collects batches, lets `n_learners` tasks learn from them, and takes the networks back."""

    def __init__(self, learner: TD3Learner, n_learners: int) -> None:
        """`learner` owns the networks between iterations."""
        self._learner, self._n_learners = learner, n_learners
        self._batches: list[Batch] = []
        self._first_number = 0
        self._network_refs: list[ray.ObjectRef] = []
        """Networks of each shard, while tasks have them."""
        self._loss_refs: list[list[ray.ObjectRef]] = []

    def submit(self, batch: Batch, number: int) -> None:
        """Add the update of that number; tasks start once enough bytes have been collected."""
        if not self._batches:
            self._first_number = number
        self._batches.append(batch)
        own_bytes = sum(tensor.nbytes for tensor in batch if tensor is not None)
        if own_bytes * len(self._batches) >= DISPATCH_BYTES:
            self._dispatch()

    def finish(self) -> list[Losses]:
        """Wait for all tasks; afterwards the learner holds the same as if it had made the updates.

        Returns the losses of every update; 0 where a cell has no module.
        """
        if self._batches:
            self._dispatch()
        if not self._network_refs:
            return []
        shards = self._split_cells()
        for shard, state in zip(shards, ray.get(self._network_refs), strict=True):
            shard.stacked.restore(state, shard.rows)
        losses = [
            np.concatenate(ray.get([chunk[index] for chunk in self._loss_refs]))
            for index in range(len(shards))
        ]
        self._network_refs, self._loss_refs = [], []
        merged = torch.zeros(len(losses[0]), 2, len(self._learner.cell_order))
        for values, shard in zip(losses, shards, strict=True):
            merged[:, :, shard.indices] = torch.tensor(values)
        return [Losses(critic, actor) for critic, actor in merged]

    def _dispatch(self) -> None:
        shards = self._split_cells()
        if not self._network_refs:
            self._network_refs = [ray.put(shard.stacked.state(shard.rows)) for shard in shards]
        losses = []
        for index, shard in enumerate(shards):
            own = [batch.select(shard.indices) for batch in self._batches]
            self._network_refs[index], loss_ref = _update_remotely.remote(
                self._learner.settings,
                self._learner.counterfactual,
                shard.stacked.bank.sizes,
                shard.frozen,
                self._network_refs[index],
                [np.stack(tensors) for tensors in zip(*own, strict=True)],
                self._first_number,
            )
            losses.append(loss_ref)
        self._loss_refs.append(losses)
        self._batches = []

    def _split_cells(self) -> list[_Shard]:
        """Every bank's cells, evenly over the learners."""
        shards, frozen = [], self._learner.frozen
        for cells, stacked, where in self._learner.banks:
            all_indices = np.arange(len(self._learner.cell_order))[where]
            for rows in np.array_split(np.arange(len(cells)), self._n_learners):
                if len(rows):
                    own = slice(int(rows[0]), int(rows[-1]) + 1)
                    kept = {r: frozen[c] for r, c in enumerate(cells[own]) if c in frozen}
                    shards.append(_Shard(stacked, own, kept, all_indices[own]))
        return shards


def update_cells(
    settings: TD3Settings,
    counterfactual: CounterfactualReward | None,
    sizes: NetworkSizes,
    frozen: Mapping[int, Sequence[str]],
    state: Mapping[str, np.ndarray],
    batches: Sequence[np.ndarray],
    first_number: int,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Networks after these updates, and their losses (update, critic or actor, cell).

    `batches` are the fields of `Batch`, (update, cell, ...) each.
    """
    torch.set_num_threads(1)
    stacked = StackedTD3(ParameterBank(batches[0].shape[1], sizes), settings, counterfactual)
    stacked.restore(state)
    stacked.freeze(frozen)
    losses = []
    for number, batch in enumerate(zip(*batches, strict=True), first_number):
        own = Batch(*(torch.tensor(array) for array in batch))
        losses.append(torch.stack(stacked.update(own, number)).numpy())
    return stacked.state(), np.stack(losses)


# Ray finds the task's function by its module and name, so that no code has to travel.
_update_remotely: Any = ray.remote(num_cpus=1, num_returns=2, max_retries=MAX_RETRIES)(update_cells)


def is_worth_threads(groups: Sequence[tuple[NetworkSizes, int]], batch_size: int) -> bool:
    """Whether more than one thread makes an update faster.

    Args:
        groups: The sizes of networks, and how many cells have networks of that size.
        batch_size: Transitions of each cell in an update.
    """
    total = sum(cells * count_update_flops(sizes, batch_size) for sizes, cells in groups)
    return total >= FEWEST_FLOPS_FOR_THREADS


def count_update_flops(sizes: NetworkSizes, batch_size: int) -> float:
    """Floating-point operations of one update of one cell, in its matrix products.

    Two per parameter and transition in each forward and each backward pass.
    """
    actor, critic = (
        sum(math.prod(shape) for shape in list_layer_shapes(widths).values())
        for widths in (sizes.actor, sizes.critic)
    )
    # Critics: two targets forward, two forward and backward. Actor: target, and itself.
    return 2.0 * batch_size * (8 * critic + 4 * actor)
