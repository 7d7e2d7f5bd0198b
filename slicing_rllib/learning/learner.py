"""RLlib's Learner for all cells: one stacked update instead of a loss per module."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from slicing_rllib.learning.parameter_bank import ParameterBank
from slicing_rllib.learning.rl_module import BankedMultiRLModule
from slicing_rllib.learning.update import Batch, Hyperparameters, Losses, StackedTD3


class TD3Learner(TorchLearner):
    """Holds the bank, its optimiser, and the update."""

    def build(self) -> None:
        super().build()
        self.restack()

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

    def restack(self) -> None:
        """After the bank was made anew."""
        self.stacked = StackedTD3(self.banked.bank, self.hyperparameters)
        self.freeze({})

    def update_stacked(
        self, batch: Batch, frozen: list[int], actors_held: Sequence[int] = ()
    ) -> Losses:
        """One update; rows in `frozen` stay as they are, bit for bit.

        So do actors in `actors_held`, and parameters that `freeze` named.
        """
        kept = [
            (tensor, index, tensor[index].clone())
            for tensor, index in self._to_keep(frozen, actors_held)
        ]
        losses = self.stacked.update(batch)
        for tensor, index, values in kept:
            tensor[index] = values
        return losses

    def freeze(self, frozen: Mapping[str, Sequence[str]]) -> None:
        """From now on, parameters of a cell that begin with these names stay as they are."""
        self._masks: dict[str, torch.Tensor] = {}
        if not frozen:
            return
        bank = self.banked.bank
        marks = ParameterBank(bank.n_cells, bank.sizes)
        for cell, beginnings in frozen.items():
            for name, view in marks.rows(self.banked.cells.index(cell)):
                view.fill_(float(name.startswith(tuple(beginnings))))
        self._masks = {kind: marks.flat[kind].bool() for kind in ("actor", "critics")}

    def _to_keep(
        self, frozen: list[int], actors_held: Sequence[int]
    ) -> Iterator[tuple[torch.Tensor, Any]]:
        """Tensors, and where in them an update must change nothing."""
        bank, stacked = self.banked.bank, self.stacked
        for kind, mask in self._masks.items():
            yield bank.flat[kind], mask
        if frozen:
            everything = [*bank.flat.values(), *stacked.actor_adam.tensors]
            for tensor in (*everything, *stacked.critic_adam.tensors):
                yield tensor, frozen
        if len(actors_held):
            actors = [bank.flat["actor"], bank.flat["target_actor"]]
            for tensor in (*actors, *stacked.actor_adam.tensors):
                yield tensor, list(actors_held)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """None of RLlib's: the stacked update has its own."""

    def compute_loss_for_module(self, **kwargs: Any) -> torch.Tensor:
        raise NotImplementedError("TD3Learner updates all modules at once: see update_stacked")

    def _get_optimizer_state(self) -> dict[str, Any]:
        stacked = self.stacked
        return {
            "updates": stacked.updates,
            "actor_loss": stacked._actor_loss.numpy().copy(),
            **{
                f"{name}.{part}": getattr(adam, part).numpy().copy()
                for name, adam in (("actor", stacked.actor_adam), ("critic", stacked.critic_adam))
                for part in ("mean", "square", "steps")
            },
        }

    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        stacked = self.stacked
        stacked.updates = int(state["updates"])
        stacked._actor_loss = torch.tensor(state["actor_loss"])
        for name, adam in (("actor", stacked.actor_adam), ("critic", stacked.critic_adam)):
            for part in ("mean", "square", "steps"):
                getattr(adam, part).copy_(torch.as_tensor(state[f"{name}.{part}"]))
