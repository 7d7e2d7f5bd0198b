"""RLlib's Learner for all cells: one stacked update instead of a loss per module."""

from typing import Any

import torch
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from slicing_rllib.learning.rl_module import BankedMultiRLModule
from slicing_rllib.learning.update import Batch, Hyperparameters, Losses, StackedTD3


class TD3Learner(TorchLearner):
    """Holds the bank, its optimiser, and the update."""

    def build(self) -> None:
        super().build()
        self.restack()

    @property
    def banked(self) -> BankedMultiRLModule:
        module = self.module
        assert isinstance(module, BankedMultiRLModule)
        return module

    def restack(self) -> None:
        """After the bank was made anew."""
        config: Any = self.config
        hyper = Hyperparameters(
            actor_lr=config.actor_lr,
            critic_lr=config.critic_lr,
            gamma=config.gamma,
            tau=config.tau,
            policy_delay=config.policy_delay,
            target_noise=config.target_noise,
            target_noise_clip=config.target_noise_clip,
        )
        self.stacked = StackedTD3(self.banked.bank, hyper)

    def update_stacked(self, batch: Batch, frozen: list[int]) -> Losses:
        """One update; rows in `frozen` stay as they are, bit for bit."""
        bank, stacked = self.banked.bank, self.stacked
        tensors = [*bank.flat.values()]
        for adam in (stacked.actor_adam, stacked.critic_adam):
            tensors += [adam.mean, adam.square, adam.steps]
        kept = [tensor[frozen].clone() for tensor in tensors] if frozen else []
        losses = stacked.update(batch)
        for tensor, rows in zip(tensors, kept, strict=False):
            tensor[frozen] = rows
        return losses

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
