"""The update of cells with networks of the same widths, some of which may stay as they are."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool

from slicing_rllib.learning.parameter_bank import ParameterBank
from slicing_rllib.learning.stacked_td3 import Batch, Hyperparameters, Losses, StackedTD3


class UpdateRequest(NamedTuple):
    """One update: of which experience, and what must not change, bit for bit."""

    batch: Batch
    paused: Bool[np.ndarray, " cell"]
    """Cells that stay as they are."""
    actors_held: Bool[np.ndarray, " cell"]
    """Cells whose actor waits for its critics."""

    def of(self, places: Any) -> "UpdateRequest":
        """The same for some of the cells: a slice or indexes."""
        if isinstance(places, slice) and places == slice(None):
            return self
        return UpdateRequest(
            Batch(*(array[places] for array in self.batch)),
            self.paused[places],
            self.actors_held[places],
        )


class CellUpdate:
    """A bank, its optimiser, and the update of both."""

    def __init__(
        self, cells: Sequence[str], bank: ParameterBank, hyperparameters: Hyperparameters
    ) -> None:
        self.cells, self.bank = tuple(cells), bank
        self.stacked = StackedTD3(bank, hyperparameters)
        self.freeze({})

    def update(self, order: UpdateRequest) -> Losses:
        """What is paused, held or frozen is as before. The batch may be on another device."""
        batch = Batch(*(tensor.to(self.bank.device) for tensor in order.batch))
        kept = [(tensor, index, tensor[index].clone()) for tensor, index in self._to_keep(order)]
        losses = self.stacked.update(batch)
        for tensor, index, values in kept:
            tensor[index] = values
        return losses

    def freeze(self, frozen: Mapping[str, Sequence[str]]) -> None:
        """From now on, parameters of a cell that begin with these names stay as they are."""
        self._masks: dict[str, torch.Tensor] = {}
        own = [cell for cell in self.cells if cell in frozen]
        if not own:
            return
        marks = ParameterBank(self.bank.n_cells, self.bank.sizes, device=self.bank.device)
        for cell in own:
            for name, view in marks.rows(self.cells.index(cell)):
                view.fill_(float(name.startswith(tuple(frozen[cell]))))
        self._masks = {kind: marks.flat[kind].bool() for kind in ("actor", "critics")}

    def optimiser_tensors(self) -> dict[str, torch.Tensor]:
        """Views by name, a row per cell."""
        stacked = self.stacked
        return {
            f"{name}.{part}": getattr(adam, part)
            for name, adam in (("actor", stacked.actor_adam), ("critic", stacked.critic_adam))
            for part in ("mean", "square", "steps")
        }

    def state(self, places: Any = slice(None)) -> dict[str, np.ndarray]:
        """All that the next update needs, of all cells or some; copies."""
        tensors = self._tensors().items()
        return {name: tensor[places].cpu().numpy().copy() for name, tensor in tensors}

    def restore(self, state: Mapping[str, np.ndarray], places: Any = slice(None)) -> None:
        for name, tensor in self._tensors().items():
            tensor[places] = torch.tensor(state[name], device=tensor.device)

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {**self.bank.flat, **self.optimiser_tensors(), "loss": self.stacked.actor_loss}

    def _to_keep(self, order: UpdateRequest) -> Iterator[tuple[torch.Tensor, Any]]:
        """Tensors, and where in them an update must change nothing."""
        bank, stacked = self.bank, self.stacked
        for kind, mask in self._masks.items():
            yield bank.flat[kind], mask
        if order.paused.any():
            paused = np.flatnonzero(order.paused).tolist()
            everything = [*bank.flat.values(), *stacked.actor_adam.tensors]
            for tensor in (*everything, *stacked.critic_adam.tensors):
                yield tensor, paused
        if order.actors_held.any():
            held = np.flatnonzero(order.actors_held).tolist()
            actors = [bank.flat["actor"], bank.flat["target_actor"]]
            for tensor in (*actors, *stacked.actor_adam.tensors):
                yield tensor, held
