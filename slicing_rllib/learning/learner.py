"""RLlib's Learner for all cells: stacked updates instead of one loss per module."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from slicing_rllib.env import CounterfactualReward
from slicing_rllib.learning.rl_module import BankedMultiRLModule, indices
from slicing_rllib.learning.stacked_td3 import Adam, Batch, Losses, StackedTD3
from slicing_rllib.learning.td3_settings import TD3Settings


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
