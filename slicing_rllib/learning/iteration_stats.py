"""What one training iteration collects: rewards, losses, and advantages of guarded cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core import ALL_MODULES
from ray.rllib.utils.metrics import LEARNER_RESULTS, NUM_ENV_STEPS_TRAINED_LIFETIME

from slicing_rllib.learning.policy_map import PolicyMap
from slicing_rllib.learning.runner_metrics import MOST_AGENTS_IN_RESULTS
from slicing_rllib.learning.sampled_env import Step
from slicing_rllib.learning.stacked_td3 import Losses


class NonFiniteUpdate(RuntimeError):
    """A cell's loss or reward is NaN or infinite."""


class IterationStats:
    """Sums over the network steps and updates of one iteration.

    Rewards have an entry per cell, losses one per policy.
    """

    def __init__(self, policies: PolicyMap) -> None:
        """`policies` name the entries."""
        self._policies = policies
        self._cells = policies.agents
        self.steps_trained = 0
        """Network steps after which policies were updated."""
        self._reward = np.zeros(len(self._cells))
        self._live_steps = np.zeros(len(self._cells))
        self.steps: list[Step] = []
        """The network steps of the iteration."""
        self._losses: list[Losses] = []

    def add_step(self, step: Step) -> None:
        """Add the rewards of one network step."""
        self._reward += step.transitions.reward
        self._live_steps += step.live
        self.steps.append(step)

    def add_losses(self, losses: Sequence[Losses]) -> None:
        """Add the losses of updates, the latest last."""
        self._losses += losses

    def check_finite(self, env_steps: int) -> None:
        """Raises: NonFiniteUpdate naming the first cell whose mean reward or loss is not finite."""
        is_finite = np.isfinite(self._mean_reward())
        if self._losses:
            losses = self._losses[-1].critic.cpu().numpy()
            is_finite &= np.isfinite(losses)[self._policies.rows]
        if not is_finite.all():
            cell = self._cells[int(np.argmin(is_finite))]
            raise NonFiniteUpdate(f"{cell}: reward or loss is not finite at step {env_steps}")

    def summarise(self) -> dict[str, Any]:
        """`reward_mean` over live cells, and for each of them its reward and mean losses."""
        reward, live = self._mean_reward(), self._live_steps > 0
        rows = np.flatnonzero(live).tolist()
        by_cell: dict[str, dict[str, float]] = {
            self._cells[row]: {"reward": float(reward[row])} for row in rows
        }
        if self._losses:
            critic, actor = self._mean_losses()
            for row in rows:
                policy = int(self._policies.rows[row])
                by_cell[self._cells[row]]["critic_loss"] = float(critic[policy])
                by_cell[self._cells[row]]["actor_loss"] = float(actor[policy])
        mean = float(reward[live].mean()) if live.any() else 0.0
        return {"reward_mean": mean, "cells": by_cell}

    def list_advantages(self, rows: Sequence[int]) -> dict[str, list[float]]:
        """By guarded cell: its advantage over the default action in every step."""
        return {
            self._cells[row]: [float(step.advantage[row]) for step in self.steps] for row in rows
        }

    def log_training(self, metrics: Any) -> None:
        """Log losses by policy, and how many steps were learned from, under RLlib's names."""
        key = (LEARNER_RESULTS, ALL_MODULES, NUM_ENV_STEPS_TRAINED_LIFETIME)
        metrics.log_value(key, self.steps_trained, reduce="lifetime_sum")
        names = self._policies.policies
        if not self._losses or len(names) > MOST_AGENTS_IN_RESULTS:
            return
        for what, losses in zip(("critic_loss", "actor_loss"), self._mean_losses(), strict=True):
            by_policy = zip(names, losses.tolist(), strict=True)
            values = {policy: {what: loss} for policy, loss in by_policy}
            metrics.log_dict(values, key=LEARNER_RESULTS, window=1)

    def _mean_losses(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Per policy: the critics' mean loss over the updates, and the actor's last one."""
        critic = torch.stack([losses.critic for losses in self._losses]).mean(0).cpu()
        return critic, self._losses[-1].actor.cpu()

    def _mean_reward(self) -> np.ndarray:
        return self._reward / np.maximum(self._live_steps, 1)
