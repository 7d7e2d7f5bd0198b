"""Updates of all cells, in one process or in several.

`TD3Learner` is RLlib's Learner for all cells: it has one stacked update per parameter bank instead
of one loss per module.

With `num_learners`, Ray tasks make the updates, each those of some cells. Cells share no gradient,
so no task waits for another. A task receives its cells' networks and a number of batches and
returns the networks; it keeps no state, so a task that is lost is simply run again.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import ray
import torch
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from slicing_rllib.env import CounterfactualReward
from slicing_rllib.learning.response_critic import build_stacked
from slicing_rllib.learning.rl_module import BankedMultiRLModule
from slicing_rllib.learning.stacked_networks import NetworkSizes, ParameterBank
from slicing_rllib.learning.stacked_td3 import Batch, Losses, StackedTD3
from slicing_rllib.policies.td3_settings import TD3Settings

DISPATCH_BYTES = 32 * 2**20
"""Size of the collected batches at which they are sent to the learners."""
MAX_RETRIES = 3


class LearnedBank(NamedTuple):
    """Cells whose networks have the same widths, in the order of their bank's rows."""

    cells: tuple[str, ...]
    stacked: StackedTD3
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
        self.optimisers: dict[str, dict[str, torch.Tensor]] = {}
        """By cell: views of its Adam moments, step counts and last losses."""
        # RLlib may have moved each module to its device by itself, out of its bank.
        self.banked.rebuild_banks()

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
        config: Any = self.config
        order = self.cell_order or tuple(self.banked.cells)
        rows = {cell: row for row, cell in enumerate(order)}
        self.banks = []
        for cells, bank in self.banked.groups:
            # A full slice needs no copy.
            own = slice(None) if cells == order else np.array([rows[cell] for cell in cells])
            stacked = build_stacked(bank, config.settings, self.counterfactual)
            self.banks.append(LearnedBank(cells, stacked, own))
        self.optimisers = {
            cell: {name: tensor[row] for name, tensor in stacked.optimiser_tensors.items()}
            for cells, stacked, _ in self.banks
            for row, cell in enumerate(cells)
        }
        self.freeze(self.frozen)

    def _get_optimizer_state(self) -> dict[str, Any]:
        """Copies of each cell's optimiser tensors."""
        return {
            cell: {name: tensor.cpu().numpy().copy() for name, tensor in own.items()}
            for cell, own in self.optimisers.items()
        }

    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        """Put a state back for the cells that are in both, if their networks have equal widths."""
        for cell in state.keys() & self.optimisers.keys():
            saved, own = state[cell], self.optimisers[cell]
            if all(saved[name].shape == tensor.shape for name, tensor in own.items()):
                for name, tensor in own.items():
                    tensor.copy_(torch.tensor(saved[name]))


@dataclass
class _Shard:
    """Some rows of one of the learner's banks, while a task has them."""

    stacked: StackedTD3
    rows: slice
    frozen: Mapping[int, Sequence[str]]
    """By row of the shard, prefixes of names of parameters that do not change."""
    indices: np.ndarray
    """The same cells in the order of all cells."""
    networks: Any
    """Ray's reference to the networks and optimisers, as the last task returns them."""
    losses: list[Any] = field(default_factory=list)
    """References to the losses of each task."""


class LearnerShards:
    """Collects batches, lets `n_learners` tasks learn from them, and takes the networks back."""

    def __init__(self, learner: TD3Learner, n_learners: int) -> None:
        """`learner` owns the networks between iterations."""
        self._learner, self._n_learners = learner, n_learners
        self._batches: dict[int, Batch] = {}
        """By number of the update."""
        self._shards: list[_Shard] = []

    def submit(self, batch: Batch, number: int) -> None:
        """Add the update of that number; tasks start once enough bytes have been collected."""
        self._batches[number] = batch
        own_bytes = sum(tensor.nbytes for tensor in batch if tensor is not None)
        if own_bytes * len(self._batches) >= DISPATCH_BYTES:
            self._dispatch()

    def finish(self) -> list[Losses]:
        """Wait for all tasks; afterwards the learner holds the same as if it had made the updates.

        Returns the losses of every update; 0 where a cell has no module.
        """
        if self._batches:
            self._dispatch()
        shards, self._shards = self._shards, []
        if not shards:
            return []
        for shard in shards:
            shard.stacked.restore(ray.get(shard.networks), shard.rows)
        losses = [np.concatenate(ray.get(shard.losses)) for shard in shards]
        merged = torch.zeros(len(losses[0]), 2, len(self._learner.cell_order))
        for values, shard in zip(losses, shards, strict=True):
            merged[:, :, shard.indices] = torch.tensor(values)
        return [Losses(critic, actor) for critic, actor in merged]

    def _dispatch(self) -> None:
        self._shards = self._shards or list(self._split_cells())
        for shard in self._shards:
            own = [batch.select(shard.indices) for batch in self._batches.values()]
            shard.networks, losses = _update_remotely.remote(
                shard.stacked.settings,
                self._learner.counterfactual,
                shard.stacked.bank.sizes,
                shard.frozen,
                shard.networks,
                [np.stack(tensors) for tensors in zip(*own, strict=True)],
                min(self._batches),
            )
            shard.losses.append(losses)
        self._batches = {}

    def _split_cells(self) -> Iterator[_Shard]:
        """Every bank's cells, evenly over the learners."""
        frozen = self._learner.frozen
        for cells, stacked, where in self._learner.banks:
            all_indices = np.arange(len(self._learner.cell_order))[where]
            for rows in np.array_split(np.arange(len(cells)), self._n_learners):
                if len(rows):
                    own = slice(int(rows[0]), int(rows[-1]) + 1)
                    kept = {r: frozen[c] for r, c in enumerate(cells[own]) if c in frozen}
                    networks = ray.put(stacked.state(own))
                    yield _Shard(stacked, own, kept, all_indices[own], networks)


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
    stacked = build_stacked(ParameterBank(batches[0].shape[1], sizes), settings, counterfactual)
    stacked.restore(state)
    stacked.freeze(frozen)
    losses = []
    for number, batch in enumerate(zip(*batches, strict=True), first_number):
        own = Batch(*(torch.tensor(array) for array in batch))
        losses.append(torch.stack(stacked.update(own, number)).numpy())
    return stacked.state(), np.stack(losses)


# Ray finds the task's function by its module and name, so that no code has to travel.
_update_remotely: Any = ray.remote(num_cpus=1, num_returns=2, max_retries=MAX_RETRIES)(update_cells)


def count_update_flops(sizes: NetworkSizes, batch_size: int) -> float:
    """Floating-point operations of one update of one cell, in its matrix products.

    Two per parameter and transition in each forward and each backward pass.
    """
    actor, critic = map(sizes.count_parameters, ("actor", "critics"))
    if "target_critics" not in sizes.kinds:
        # A forward and a backward pass of two critics, for every slice; half of them for slopes.
        return 2.0 * batch_size * (9 * sizes.form.n_actions * critic + 3 * actor)
    # Critics: two targets forward, two forward and backward. Actor: target, and itself.
    return 2.0 * batch_size * (8 * critic + 4 * actor)
