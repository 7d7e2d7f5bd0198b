"""RLlib's Learner for all cells: stacked updates instead of a loss per module."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from slicing_rllib.learning.cell_update import CellUpdate, UpdateRequest
from slicing_rllib.learning.rl_module import BankedMultiRLModule, indices
from slicing_rllib.learning.stacked_td3 import Adam, Hyperparameters, Losses


class TD3Learner(TorchLearner):
    """Holds the banks, their optimisers, and their updates."""

    def build(self) -> None:
        super().build()
        self.order: tuple[str, ...] = ()
        """Of cells in batches."""
        self.updates = 0
        # RLlib may have moved each module to its device by itself, out of its bank.
        self.banked.rebank()
        self._stack()

    @property
    def hyperparameters(self) -> Hyperparameters:
        config: Any = self.config
        return Hyperparameters(
            actor_lr=config.actor_lr,
            critic_lr=config.critic_lr,
            gamma=config.gamma,
            tau=config.tau,
            policy_delay=config.policy_delay,
            target_noise=config.target_noise,
            target_noise_clip=config.target_noise_clip,
        )

    @property
    def banked(self) -> BankedMultiRLModule:
        module = self.module
        assert isinstance(module, BankedMultiRLModule)
        return module

    def arrange(self, cells: Sequence[str]) -> None:
        """The order of cells in batches; some may have no module."""
        self.order = tuple(cells)
        self._stack()

    def update_stacked(self, order: UpdateRequest) -> Losses:
        """One update of all cells that have a module."""
        found = [part.update(order.of(where)) for part, where in self.parts]
        self.updates += 1
        return self.spread(found)

    def spread(self, found: Sequence[Losses]) -> Losses:
        """Losses of all cells in their order; 0 where there is no module."""
        wheres = [where for _, where in self.parts]
        if len(wheres) == 1 and isinstance(wheres[0], slice):
            return found[0]
        device = found[0].critic.device
        critic, actor = torch.zeros((2, len(self.order)), device=device).unbind()
        for losses, where in zip(found, wheres, strict=True):
            critic[where], actor[where] = losses
        return Losses(critic, actor)

    def freeze(self, frozen: Mapping[str, Sequence[str]]) -> None:
        """From now on, parameters of a cell that begin with these names stay as they are."""
        for part, _ in self.parts:
            part.freeze(frozen)

    def adams_of(self, cell: str) -> tuple[int, tuple[Adam, Adam]]:
        """A cell's row, and the optimisers of its actor and critics."""
        for part, _ in self.parts:
            if cell in part.cells:
                stacked = part.stacked
                return part.cells.index(cell), (stacked.actor_adam, stacked.critic_adam)
        raise KeyError(f"no module {cell!r}")

    def add_module(self, **added: Any) -> Any:
        """The others go on with the optimiser that they had."""
        kept = self._get_optimizer_state()
        spec = super().add_module(**added)
        self._stack()
        self._set_optimizer_state(kept)
        return spec

    def remove_module(self, module_id: str, **rest: Any) -> Any:
        """The others go on with the optimiser that they had."""
        kept = self._get_optimizer_state()
        # RLlib looks each module's optimisers up by name; ours are not of its kind.
        self._module_optimizers.setdefault(module_id, [])
        spec = super().remove_module(module_id, **rest)
        self._stack()
        self._set_optimizer_state(kept)
        return spec

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """None of RLlib's: the stacked update has its own."""

    def compute_loss_for_module(self, **kwargs: Any) -> torch.Tensor:
        raise NotImplementedError("TD3Learner updates all modules at once: see update_stacked")

    def _stack(self) -> None:
        """After banks were made anew."""
        self.parts = [
            (
                CellUpdate(group.cells, group.bank, self.hyperparameters),
                indices(group.cells, self.order or self.banked.cells),
            )
            for group in self.banked.groups
        ]

    def _get_optimizer_state(self) -> dict[str, Any]:
        """By part; cells are found again by their names."""
        parts = [
            {
                "cells": list(part.cells),
                **{name: t.cpu().numpy().copy() for name, t in part.optimiser_tensors().items()},
                "actor_loss": part.stacked.actor_loss.cpu().numpy().copy(),
            }
            for part, _ in self.parts
        ]
        return {"updates": self.updates, "parts": parts}

    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        self.updates = int(state["updates"])
        for part, _ in self.parts:
            part.stacked.updates = self.updates
            for saved in state["parts"]:
                _hand_over(saved, part)


def _hand_over(saved: Mapping[str, Any], part: CellUpdate) -> None:
    """Optimiser state of the cells that are in both, if their networks are as wide."""
    tensors = part.optimiser_tensors() | {"actor_loss": part.stacked.actor_loss}
    pairs = [
        (part.cells.index(cell), row)
        for row, cell in enumerate(saved["cells"])
        if cell in part.cells
    ]
    alike = all(saved[name].shape[1:] == tensor.shape[1:] for name, tensor in tensors.items())
    if not pairs or not alike:
        return
    own, theirs = np.array(pairs).T
    for name, tensor in tensors.items():
        tensor[own] = torch.tensor(saved[name][theirs], device=tensor.device)
