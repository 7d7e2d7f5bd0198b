"""RLlib's Learner for all cells: stacked updates instead of one loss per module.

The update of cells whose networks have the same widths; some of them may stay unchanged.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from slicing_rllib.env import CounterfactualReward
from slicing_rllib.learning.rl_module import BankedMultiRLModule, indices
from slicing_rllib.learning.stacked_networks import ParameterBank
from slicing_rllib.learning.stacked_td3 import (
    Adam,
    Batch,
    Losses,
    StackedTD3,
)
from slicing_rllib.learning.td3_settings import TD3Settings


class UpdateRequest(NamedTuple):
    """One update: its experience, and which cells must not change, bit for bit."""

    batch: Batch
    paused: Bool[np.ndarray, " cell"]
    """Cells whose networks and optimisers stay as they are."""
    actors_held: Bool[np.ndarray, " cell"]
    """Cells whose actor stays as it is while their critics learn."""
    number: int
    """From 0; delayed networks move with every second or later one."""

    def select(self, indices: Any) -> "UpdateRequest":
        """The same request for some of the cells: a slice or an array of indices."""
        if isinstance(indices, slice) and indices == slice(None):
            return self
        return self._replace(
            batch=Batch(*(array[indices] for array in self.batch)),
            paused=self.paused[indices],
            actors_held=self.actors_held[indices],
        )


class CellUpdate:
    """A parameter bank, its optimisers, and the update of both."""

    def __init__(
        self,
        cells: Sequence[str],
        bank: ParameterBank,
        settings: TD3Settings,
        counterfactual: CounterfactualReward | None = None,
    ) -> None:
        """`cells` name the bank's rows; `counterfactual` is the environment's, if it has one."""
        self.cells, self.bank = tuple(cells), bank
        self.stacked = StackedTD3(bank, settings, counterfactual)
        self.freeze({})

    def update(self, request: UpdateRequest) -> Losses:
        """Update all cells; what is paused, held or frozen is put back as it was before.

        The batch may be on another device than the bank.
        """
        batch = Batch(*(tensor.to(self.bank.device) for tensor in request.batch))
        kept = [(t, index, t[index].clone()) for t, index in self._find_unchanged(request)]
        losses = self.stacked.update(batch, request.number)
        for tensor, index, values in kept:
            tensor[index] = values
        return losses

    def freeze(self, frozen: Mapping[str, Sequence[str]]) -> None:
        """From now on, keep a cell's parameters whose names begin with one of these prefixes.

        `frozen` maps cells to prefixes such as `actor.0.`; cells that it lacks have none frozen.
        """
        self._masks: dict[str, torch.Tensor] = {}
        own = [cell for cell in self.cells if cell in frozen]
        if not own:
            return
        marks = ParameterBank(self.bank.n_cells, self.bank.sizes, device=self.bank.device)
        for cell in own:
            for name, view in marks.iterate_row(self.cells.index(cell)):
                view.fill_(float(name.startswith(tuple(frozen[cell]))))
        self._masks = {kind: marks.flat[kind].bool() for kind in ("actor", "critics")}

    def optimiser_tensors(self) -> dict[str, torch.Tensor]:
        """The optimisers' tensors by name, a row per cell, as views."""
        stacked = self.stacked
        return {
            f"{name}.{part}": getattr(adam, part)
            for name, adam in (("actor", stacked.actor_adam), ("critic", stacked.critic_adam))
            for part in ("mean", "square", "steps")
        }

    def state(self, indices: Any = slice(None)) -> dict[str, np.ndarray]:
        """Copies of all that the next update needs, of all cells or of some rows."""
        tensors = self._tensors().items()
        return {name: tensor[indices].cpu().numpy().copy() for name, tensor in tensors}

    def restore(self, state: Mapping[str, np.ndarray], indices: Any = slice(None)) -> None:
        """Put a `state` back, into all cells or into some rows."""
        for name, tensor in self._tensors().items():
            tensor[indices] = torch.tensor(state[name], device=tensor.device)

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {
            **self.bank.flat,
            **self.optimiser_tensors(),
            "actor_loss": self.stacked.actor_loss,
            "critic_loss": self.stacked.critic_loss,
        }

    def _find_unchanged(self, request: UpdateRequest) -> Iterator[tuple[torch.Tensor, Any]]:
        """Tensors, and the index in each that the update must leave as it is."""
        bank, stacked = self.bank, self.stacked
        for kind, mask in self._masks.items():
            yield bank.flat[kind], mask
        if request.paused.any():
            paused = np.flatnonzero(request.paused).tolist()
            everything = [*bank.flat.values(), *stacked.actor_adam.tensors]
            for tensor in (*everything, *stacked.critic_adam.tensors):
                yield tensor, paused
        if request.actors_held.any():
            held = np.flatnonzero(request.actors_held).tolist()
            actors = [bank.flat["actor"], bank.flat["target_actor"]]
            for tensor in (*actors, *stacked.actor_adam.tensors):
                yield tensor, held


class TD3Learner(TorchLearner):
    """Holds the parameter banks, their optimisers, and their updates."""

    def build(self) -> None:
        """Build RLlib's module, move it into banks, and make the optimisers."""
        super().build()
        self.counterfactual: CounterfactualReward | None = None
        """The environment's counterfactual reward, if it offers one."""
        self.cell_order: tuple[str, ...] = ()
        """The order of cells in batches."""
        # RLlib may have moved each module to its device by itself, out of its bank.
        self.banked.rebuild_banks()
        self.parts: list[tuple[CellUpdate, Any]] = []
        """A `CellUpdate` per bank, and the indices of its cells in batches; made by `prepare`."""

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

    def update_stacked(self, request: UpdateRequest) -> Losses:
        """One update of all cells that have a module."""
        losses = [part.update(request.select(where)) for part, where in self.parts]
        return self._merge_losses(losses)

    def freeze(self, frozen: Mapping[str, Sequence[str]]) -> None:
        """From now on, keep a cell's parameters whose names begin with one of these prefixes."""
        for part, _ in self.parts:
            part.freeze(frozen)

    def find_adams(self, cell: str) -> tuple[int, tuple[Adam, Adam]]:
        """A cell's row, and the optimisers of its actor and its critics.

        Raises: KeyError for a cell without a module.
        """
        for part, _ in self.parts:
            if cell in part.cells:
                stacked = part.stacked
                return part.cells.index(cell), (stacked.actor_adam, stacked.critic_adam)
        raise KeyError(f"no module {cell!r}")

    def add_module(self, **arguments: Any) -> Any:
        """RLlib's, and the other cells keep their optimiser state."""
        kept = self._get_optimizer_state()
        spec = super().add_module(**arguments)
        self._build_updates()
        self._set_optimizer_state(kept)
        return spec

    def remove_module(self, module_id: str, **arguments: Any) -> Any:
        """RLlib's, and the other cells keep their optimiser state."""
        kept = self._get_optimizer_state()
        # RLlib looks each module's optimisers up by name and expects to find some.
        self._module_optimizers.setdefault(module_id, [])
        spec = super().remove_module(module_id, **arguments)
        self._build_updates()
        self._set_optimizer_state(kept)
        return spec

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register none with RLlib: the stacked update has optimisers of its own."""

    def compute_loss_for_module(self, **kwargs: Any) -> torch.Tensor:
        """Not used. Raises: NotImplementedError."""
        raise NotImplementedError("TD3Learner updates all modules at once: see update_stacked")

    def _merge_losses(self, losses: Sequence[Losses]) -> Losses:
        """Losses of all cells in their order; 0 where there is no module."""
        wheres = [where for _, where in self.parts]
        if len(wheres) == 1 and isinstance(wheres[0], slice):
            return losses[0]
        device = losses[0].critic.device
        critic, actor = torch.zeros((2, len(self.cell_order)), device=device).unbind()
        for own, where in zip(losses, wheres, strict=True):
            critic[where], actor[where] = own
        return Losses(critic, actor)

    def _build_updates(self) -> None:
        """A `CellUpdate` per bank, and where its cells stand in batches."""
        self.parts = [
            (
                CellUpdate(group.cells, group.bank, self.settings, self.counterfactual),
                indices(group.cells, self.cell_order or self.banked.cells),
            )
            for group in self.banked.groups
        ]

    def _get_optimizer_state(self) -> dict[str, Any]:
        """Optimiser tensors of each part, with the names of its cells."""
        parts = [
            {
                "cells": list(part.cells),
                **{name: t.cpu().numpy().copy() for name, t in part.optimiser_tensors().items()},
                "actor_loss": part.stacked.actor_loss.cpu().numpy().copy(),
                "critic_loss": part.stacked.critic_loss.cpu().numpy().copy(),
            }
            for part, _ in self.parts
        ]
        return {"parts": parts}

    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        for part, _ in self.parts:
            for saved in state["parts"]:
                _copy_optimiser_rows(saved, part)


def _copy_optimiser_rows(saved: Mapping[str, Any], part: CellUpdate) -> None:
    """Copy the rows of cells that are in both, if their networks have the same widths."""
    losses = {"actor_loss": part.stacked.actor_loss, "critic_loss": part.stacked.critic_loss}
    tensors = part.optimiser_tensors() | losses
    pairs = [
        (part.cells.index(cell), row)
        for row, cell in enumerate(saved["cells"])
        if cell in part.cells
    ]
    have_same_shapes = all(saved[name].shape[1:] == t.shape[1:] for name, t in tensors.items())
    if not pairs or not have_same_shapes:
        return
    own_rows, saved_rows = np.array(pairs).T
    for name, tensor in tensors.items():
        tensor[own_rows] = torch.tensor(saved[name][saved_rows], device=tensor.device)
