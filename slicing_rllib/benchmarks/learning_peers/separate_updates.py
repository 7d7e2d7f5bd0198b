"""A bare loop that updates each cell by itself, with autograd and torch.optim."""

import itertools

import torch
from torch import nn

from slicing_rllib.benchmarks.learning_peers.bare_loop import BareLoop
from slicing_rllib.benchmarks.learning_peers.peer import get_network_sizes
from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning.rl_module import NETWORKS, build_mlp
from slicing_rllib.learning.stacked_networks import NetworkSizes
from slicing_rllib.learning.stacked_td3 import Batch, smoothing_noise, td_target
from slicing_rllib.learning.td3_settings import TD3Settings
from slicing_rllib.radio import Scenario

HYPER = TD3Settings()


def make_separate_updates(scenario: Scenario) -> BareLoop:
    """Returns a bare loop that updates one cell after the other; shows what stacking saves."""
    env = SlicingEnv(scenario)
    sizes = get_network_sizes(env)
    cells = [_OneCell(sizes, seed) for seed in range(len(scenario.cells))]

    def update(batch: Batch) -> None:
        for row, cell in enumerate(cells):
            cell.update(Batch(*(column[row] for column in batch)))

    def actor(obs: torch.Tensor) -> torch.Tensor:
        return torch.stack([cell.net["actor"](obs[row]) for row, cell in enumerate(cells)])

    return BareLoop(env, update, actor)


class _OneCell:
    """TD3 of one cell. Source: Fujimoto et al. 2018, Algorithm 1."""

    def __init__(self, sizes: NetworkSizes, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.net = nn.ModuleDict(
            {name: build_mlp(sizes.find_widths(name), generator) for name in NETWORKS}
        )
        critics = itertools.chain(
            self.net["critic_1"].parameters(), self.net["critic_2"].parameters()
        )
        self._critic_adam = torch.optim.Adam(critics, HYPER.critic_lr)
        self._actor_adam = torch.optim.Adam(self.net["actor"].parameters(), HYPER.actor_lr)
        self._updates = 0

    def update(self, batch: Batch) -> None:
        """Updates the critics, and every `policy_delay` updates the actor and the targets."""
        target = self._compute_target(batch)
        pair = torch.cat([batch.obs, batch.action], -1)
        loss = torch.stack(
            [(self.net[q](pair)[:, 0] - target).square().mean() for q in ("critic_1", "critic_2")]
        ).sum()
        _descend(self._critic_adam, loss)
        if (self._updates + 1) % HYPER.policy_delay == 0:
            action = torch.softmax(self.net["actor"](batch.obs), -1)
            q = self.net["critic_1"](torch.cat([batch.obs, action], -1))
            _descend(self._actor_adam, -q.mean())
            self._move_targets()
        self._updates += 1

    @torch.no_grad()
    def _compute_target(self, batch: Batch) -> torch.Tensor:
        noise = smoothing_noise(batch.noise, HYPER.target_noise, HYPER.target_noise_clip)
        action = torch.softmax(self.net["target_actor"](batch.next_obs) + noise, -1)
        pair = torch.cat([batch.next_obs, action], -1)
        q1, q2 = (self.net[f"target_{q}"](pair)[:, 0] for q in ("critic_1", "critic_2"))
        return td_target(batch.reward, batch.terminated, q1, q2, gamma=HYPER.gamma)

    @torch.no_grad()
    def _move_targets(self) -> None:
        for name in ("actor", "critic_1", "critic_2"):
            targets = self.net[f"target_{name}"].parameters()
            for online, target in zip(self.net[name].parameters(), targets, strict=True):
                target.lerp_(online, HYPER.tau)


def _descend(adam: torch.optim.Adam, loss: torch.Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()
