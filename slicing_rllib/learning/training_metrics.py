"""What env runners and iterations count, and the result that RLlib's users read of it."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core import ALL_MODULES
from ray.rllib.utils import metrics as rllib

from slicing_rllib.learning.policy_map import PolicyMap
from slicing_rllib.learning.sampled_env import EpisodeReturns, Step
from slicing_rllib.learning.stacked_td3 import Losses

MOST_AGENTS_IN_RESULTS = 256
"""With more agents, results contain no metrics of single agents and policies."""
EPISODE_METRICS = {name for key, name in vars(rllib).items() if key.startswith("EPISODE_")}


class RunnerMetrics:
    """An env runner's counts: arrays, as RLlib's logger is slow for single numbers."""

    def __init__(self, config: Any, policies: PolicyMap) -> None:
        """`config` says over how many episodes means are taken."""
        self._policies = policies
        self._is_listing_agents = len(policies.agents) <= MOST_AGENTS_IN_RESULTS
        episodes = config.metrics_num_episodes_for_smoothing
        self._window = max(1, math.ceil(episodes / (config.num_env_runners or 1)))
        self._reset()

    def _reset(self) -> None:
        self._env_steps = 0
        self._agent_steps = np.zeros(len(self._policies.agents), np.int64)
        self._episodes: list[tuple[EpisodeReturns, float]] = []

    def add_step(self, step: Step) -> None:
        self._env_steps += 1
        self._agent_steps += step.live

    def add_episode(self, returns: EpisodeReturns) -> None:
        self._episodes.append((returns, time.perf_counter() - returns.started))

    def log(self, metrics: Any) -> None:
        """Log everything since the last call with RLlib's MetricsLogger."""
        steps, episodes = self._env_steps, len(self._episodes)
        metrics.log_value(rllib.NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        lifetime = rllib.NUM_ENV_STEPS_SAMPLED_LIFETIME
        metrics.log_value(lifetime, steps, reduce="lifetime_sum", with_throughput=True)
        metrics.log_value(rllib.NUM_EPISODES, episodes, reduce="sum")
        metrics.log_value(rllib.NUM_EPISODES_LIFETIME, episodes, reduce="lifetime_sum")
        if self._is_listing_agents and steps:
            agents, modules = self._by_agent(self._agent_steps), self._by_policy(self._agent_steps)
            for suffix, reduce in (("", "sum"), ("_lifetime", "lifetime_sum")):
                counts = {
                    rllib.NUM_AGENT_STEPS_SAMPLED + suffix: agents,
                    rllib.NUM_MODULE_STEPS_SAMPLED + suffix: modules,
                }
                metrics.log_dict(counts, reduce=reduce)
        for returns, duration_s in self._episodes:
            self._log_episode(metrics, returns, duration_s)
        self._reset()

    def _log_episode(self, metrics: Any, returns: EpisodeReturns, duration_s: float) -> None:
        total, length, window = float(returns.reward.sum()), returns.length, self._window
        means: dict[str, Any] = {
            rllib.EPISODE_LEN_MEAN: length,
            rllib.EPISODE_RETURN_MEAN: total,
            rllib.EPISODE_DURATION_SEC_MEAN: duration_s,
        }
        if self._is_listing_agents:
            means[rllib.EPISODE_AGENT_RETURN_MEAN] = self._by_agent(returns.reward)
            means[rllib.EPISODE_AGENT_STEPS] = self._by_agent(returns.agent_steps)
            means[rllib.EPISODE_MODULE_RETURN_MEAN] = self._by_policy(returns.reward)
        metrics.log_dict(means, window=window)
        lowest = {rllib.EPISODE_LEN_MIN: length, rllib.EPISODE_RETURN_MIN: total}
        metrics.log_dict(lowest, reduce="min", window=window)
        highest = {rllib.EPISODE_LEN_MAX: length, rllib.EPISODE_RETURN_MAX: total}
        metrics.log_dict(highest, reduce="max", window=window)

    def _by_agent(self, values: np.ndarray) -> dict[str, float]:
        return dict(zip(self._policies.agents, values.tolist(), strict=True))

    def _by_policy(self, values: np.ndarray) -> dict[str, float]:
        """Sums over the agents of each policy."""
        names = self._policies.policies
        sums = np.bincount(self._policies.rows, weights=values, minlength=len(names))
        return dict(zip(names, sums.astype(values.dtype).tolist(), strict=True))


def complete_result(result: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    """The metrics of the latest episodes: the result's own, or `last`, which is added to it.

    Iterations may be shorter than episodes here. RLlib's means are then NaN or missing, which ends
    schedulers such as ASHA.
    """
    found = result.setdefault(rllib.ENV_RUNNER_RESULTS, {})
    if found.get(rllib.NUM_EPISODES, 0):
        return {name: found[name] for name in EPISODE_METRICS & found.keys()}
    found.update(last)
    return last


class NonFiniteUpdate(RuntimeError):
    """A cell's loss or reward is NaN or infinite."""


class IterationStats:
    """Sums over the network steps and updates of one iteration.

    Rewards have an entry per cell, losses one per policy.
    """

    def __init__(self, policies: PolicyMap) -> None:
        self._policies, self._cells = policies, policies.agents
        self.steps_trained = 0
        """Network steps after which policies were updated."""
        self.steps: list[Step] = []
        """The network steps of the iteration."""
        self._reward = np.zeros(len(self._cells))
        self._live_steps = np.zeros(len(self._cells))
        self._losses: list[Losses] = []

    def add_step(self, step: Step) -> None:
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
        losses = self._mean_losses() if self._losses else {}
        by_cell: dict[str, dict[str, float]] = {}
        for row in np.flatnonzero(live).tolist():
            policy = int(self._policies.rows[row])
            own = {what: float(values[policy]) for what, values in losses.items()}
            by_cell[self._cells[row]] = {"reward": float(reward[row]), **own}
        mean = float(reward[live].mean()) if live.any() else 0.0
        return {"reward_mean": mean, "cells": by_cell}

    def list_advantages(self, rows: Sequence[int]) -> dict[str, list[float]]:
        """By guarded cell: its advantage over the default action in every step."""
        return {
            self._cells[row]: [float(step.advantage[row]) for step in self.steps] for row in rows
        }

    def log_training(self, metrics: Any) -> None:
        """Log losses by policy, and how many steps were learned from, under RLlib's names."""
        key = (rllib.LEARNER_RESULTS, ALL_MODULES, rllib.NUM_ENV_STEPS_TRAINED_LIFETIME)
        metrics.log_value(key, self.steps_trained, reduce="lifetime_sum")
        names = self._policies.policies
        if not self._losses or len(names) > MOST_AGENTS_IN_RESULTS:
            return
        for what, values in self._mean_losses().items():
            by_policy = {
                policy: {what: loss} for policy, loss in zip(names, values.tolist(), strict=True)
            }
            metrics.log_dict(by_policy, key=rllib.LEARNER_RESULTS, window=1)

    def _mean_losses(self) -> dict[str, torch.Tensor]:
        """Per policy: the critics' mean loss over the updates, and the actor's last one."""
        critic = torch.stack([losses.critic for losses in self._losses]).mean(0).cpu()
        return {"critic_loss": critic, "actor_loss": self._losses[-1].actor.cpu()}

    def _mean_reward(self) -> np.ndarray:
        return self._reward / np.maximum(self._live_steps, 1)
