"""What acting policies do: one forward pass for all cells of all environments of an env runner."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from slicing_rllib.env import ActorForm, Squash
from slicing_rllib.learning.action_squash import decide
from slicing_rllib.learning.cell_state import SamplingSettings
from slicing_rllib.learning.policy_map import PolicyMap
from slicing_rllib.learning.rl_module import BankedMultiRLModule, CellGroup
from slicing_rllib.learning.sampled_env import SampledEnv
from slicing_rllib.learning.stacked_actor import compute_logits
from slicing_rllib.learning.stacked_mlp import Layers


class Actors:
    """Finds the actor of each agent in the module's banks, and computes actions with them."""

    def __init__(self, policies: PolicyMap, action_size: int, squash: Squash) -> None:
        """`squash` is how the environment's actions are computed from logits."""
        self._policies, self._action_size = policies, action_size
        self._squash: Squash = squash
        self._groups: tuple[CellGroup, ...] = ()
        self._bound: list[_BoundActors] = []

    def act(
        self,
        module: BankedMultiRLModule,
        sampled_envs: Sequence[SampledEnv],
        settings: SamplingSettings,
    ) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
        """The action of every environment and, if a cell is guarded, the action without noise."""
        if settings.explores.all():
            return [sampled.random_action() for sampled in sampled_envs], None
        obs = np.stack([sampled.columns.obs for sampled in sampled_envs], axis=1)
        noise = None
        if settings.noise_sigma.any():
            drawn = np.stack([sampled.noise(settings) for sampled in sampled_envs], axis=1)
            noise = torch.from_numpy(drawn)
        noisy = self.compute(module, obs, noise).swapaxes(0, 1)
        actions = [
            sampled.add_exploration(np.ascontiguousarray(noisy[index]), settings)
            for index, sampled in enumerate(sampled_envs)
        ]
        plain = self.compute(module, obs, None).swapaxes(0, 1) if settings.guarded_rows else None
        return actions, None if plain is None else list(plain)

    def compute(
        self, module: BankedMultiRLModule, obs: np.ndarray, noise: torch.Tensor | None
    ) -> np.ndarray:
        """(cell, env, obs) -> (cell, env, action)."""
        with torch.no_grad():
            logits = self._compute_logits(module, torch.from_numpy(obs))
            return decide(self._squash, logits, noise).numpy()

    def _compute_logits(self, module: BankedMultiRLModule, obs: torch.Tensor) -> torch.Tensor:
        """Logits of every cell; zeros (equal shares, middle of the range) without a policy."""
        if self._groups is not module.groups:
            self._groups = module.groups
            self._bound = [_BoundActors(group, self._policies) for group in module.groups]
        device = self._groups[0].bank.device
        by_group = [(bound.agents, bound.compute(obs, device)) for bound in self._bound]
        if isinstance(by_group[0][0], slice):
            return by_group[0][1]
        logits = torch.zeros(*obs.shape[:2], self._action_size)
        for agents, own in by_group:
            logits[agents] = own
        return logits


class _BoundActors:
    """The actors of one bank, and the agents that follow them."""

    def __init__(self, group: CellGroup, policies: PolicyMap) -> None:
        self.agents, self._positions = policies.locate(group.cells)
        self._bank = group.bank
        self._form: ActorForm = group.bank.sizes.form
        self._layers: Layers = group.bank.layers("actor")

    def compute(self, obs: torch.Tensor, device: Any) -> torch.Tensor:
        """Logits (agent, env, action) of the group's agents."""
        layers = self._layers
        if self._positions is not None:
            # Agents that share a policy: a row for each of them.
            rows = self._bank.flat["actor"][self._positions]
            layers = self._bank.layers("actor", rows)
        return compute_logits(self._form, layers, obs[self.agents].to(device))[0].cpu()
