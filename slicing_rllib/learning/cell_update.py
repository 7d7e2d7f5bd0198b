"""The update of cells whose networks have the same widths; some of them may stay unchanged."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool

from slicing_rllib.env import CounterfactualReward
from slicing_rllib.learning.parameter_bank import ParameterBank
from slicing_rllib.learning.stacked_td3 import (
    Batch,
    Hyperparameters,
    Losses,
    StackedTD3,
    UpdateParts,
)


class UpdateRequest(NamedTuple):
    """One update: its experience, and which cells must not change, bit for bit."""

    batch: Batch
    paused: Bool[np.ndarray, " cell"]
    """Cells whose networks and optimisers stay as they are."""
    actors_held: Bool[np.ndarray, " cell"]
    """Cells whose actor stays as it is while their critics learn."""
    parts: UpdateParts
    """Which networks this update moves."""

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
        hyperparameters: Hyperparameters,
        counterfactual: CounterfactualReward | None = None,
    ) -> None:
        """`cells` name the bank's rows; `counterfactual` is the environment's, if it has one."""
        self.cells, self.bank = tuple(cells), bank
        self.stacked = StackedTD3(bank, hyperparameters, counterfactual)
        self.freeze({})

    def update(self, request: UpdateRequest) -> Losses:
        """Update all cells; what is paused, held or frozen is put back as it was before.

        The batch may be on another device than the bank.
        """
        batch = Batch(*(tensor.to(self.bank.device) for tensor in request.batch))
        kept = [(t, index, t[index].clone()) for t, index in self._find_unchanged(request)]
        losses = self.stacked.update(batch, request.parts)
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
