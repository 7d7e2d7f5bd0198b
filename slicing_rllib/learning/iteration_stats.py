"""What one training iteration collects: rewards, losses, and advantages of guarded cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from slicing_rllib.learning.sampled_env import Step
from slicing_rllib.learning.stacked_td3 import Losses


class NonFiniteUpdate(RuntimeError):
    """A cell's loss or reward is NaN or infinite."""


class IterationStats:
    """Sums over the network steps and updates of one iteration; one entry per cell."""

    def __init__(self, cells: Sequence[str]) -> None:
        """`cells` name the entries."""
        self._cells = tuple(cells)
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
            is_finite &= np.isfinite(self._losses[-1].critic.cpu().numpy())
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
            critic = torch.stack([losses.critic for losses in self._losses]).mean(0).cpu()
            actor = self._losses[-1].actor.cpu()
            for row in rows:
                by_cell[self._cells[row]]["critic_loss"] = float(critic[row])
                by_cell[self._cells[row]]["actor_loss"] = float(actor[row])
        mean = float(reward[live].mean()) if live.any() else 0.0
        return {"reward_mean": mean, "cells": by_cell}

    def list_advantages(self, rows: Sequence[int]) -> dict[str, list[float]]:
        """By guarded cell: its advantage over the default action in every step."""
        return {
            self._cells[row]: [float(step.advantage[row]) for step in self.steps] for row in rows
        }

    def _mean_reward(self) -> np.ndarray:
        return self._reward / np.maximum(self._live_steps, 1)
