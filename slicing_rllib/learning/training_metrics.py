"""What iterations and env runners count, and the result that RLlib's users read of it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core import ALL_MODULES
from ray.rllib.env.env_runner import NUM_ENV_STEP_FAILURES_LIFETIME
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    EPISODE_AGENT_RETURN_MEAN,
    EPISODE_AGENT_STEPS,
    EPISODE_DURATION_SEC_MEAN,
    EPISODE_LEN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_MODULE_RETURN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    LEARNER_RESULTS,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_TRAINED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
)

from slicing_rllib.learning.policy_map import PolicyMap
from slicing_rllib.learning.sampled_env import EpisodeReturns, Step
from slicing_rllib.learning.stacked_td3 import Losses

NAMES = (
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    EPISODE_RETURN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_LEN_MAX,
    EPISODE_DURATION_SEC_MEAN,
    EPISODE_AGENT_RETURN_MEAN,
    EPISODE_AGENT_STEPS,
    EPISODE_MODULE_RETURN_MEAN,
)


class EpisodeResults:
    """Keeps the metrics of the last episodes until others have ended.

    Iterations may be shorter than episodes here. RLlib's means are then NaN or missing, which ends
    schedulers such as ASHA. Before the first episode has ended, the mean return is NaN.
    """

    def __init__(self) -> None:
        self._last: dict[str, Any] = {EPISODE_RETURN_MEAN: math.nan}

    def complete(self, result: dict[str, Any]) -> None:
        """Add the metrics of the last episodes to the result, or note those that it has."""
        found = result.setdefault(ENV_RUNNER_RESULTS, {})
        if found.get(NUM_EPISODES, 0):
            self._last = {name: found[name] for name in NAMES if name in found}
        else:
            found.update(self._last)

    def state(self) -> dict[str, Any]:
        """The metrics of the last episodes, for a checkpoint."""
        return dict(self._last)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back."""
        self._last = {EPISODE_RETURN_MEAN: math.nan, **state}


MOST_AGENTS_IN_RESULTS = 256
"""With more agents, results contain no metrics of single agents and policies."""


class RunnerMetrics:
    """Counts in arrays while sampling; RLlib's logger, slow for single numbers, is used once."""

    def __init__(self, config: Any, policies: PolicyMap) -> None:
        """`config` says over how many episodes means are taken."""
        self._policies = policies
        self._is_listing_agents = len(policies.agents) <= MOST_AGENTS_IN_RESULTS
        episodes = config.metrics_num_episodes_for_smoothing
        self._window = max(1, math.ceil(episodes / (config.num_env_runners or 1)))
        self._failures = 0
        self._reset()

    def add_step(self, step: Step) -> None:
        """Count one step of one environment."""
        self._env_steps += 1
        self._agent_steps += step.live

    def add_episode(self, returns: EpisodeReturns) -> None:
        """Keep an episode that is over."""
        self._episodes.append(returns)

    def log(self, metrics: Any, failures: int) -> None:
        """Log everything since the last call with RLlib's MetricsLogger.

        `failures` are those of environments since the start.
        """
        _log_count(metrics, NUM_ENV_STEPS_SAMPLED, self._env_steps)
        metrics.log_value(
            NUM_ENV_STEPS_SAMPLED_LIFETIME,
            self._env_steps,
            reduce="lifetime_sum",
            with_throughput=True,
        )
        _log_count(metrics, NUM_EPISODES, len(self._episodes))
        _log_lifetime(metrics, NUM_EPISODES_LIFETIME, len(self._episodes))
        if failures > self._failures:
            _log_lifetime(metrics, NUM_ENV_STEP_FAILURES_LIFETIME, failures - self._failures)
            self._failures = failures
        if self._is_listing_agents and self._env_steps:
            self._log_agent_steps(metrics)
        for returns in self._episodes:
            self._log_episode(metrics, returns)
        self._reset()

    def _log_agent_steps(self, metrics: Any) -> None:
        agents = dict(zip(self._policies.agents, self._agent_steps.tolist(), strict=True))
        modules = self._sum_by_policy(self._agent_steps)
        for name, counts in (
            (NUM_AGENT_STEPS_SAMPLED, agents),
            (NUM_MODULE_STEPS_SAMPLED, modules),
        ):
            metrics.log_dict({name: counts}, reduce="sum")
        for name, counts in (
            (NUM_AGENT_STEPS_SAMPLED_LIFETIME, agents),
            (NUM_MODULE_STEPS_SAMPLED_LIFETIME, modules),
        ):
            metrics.log_dict({name: counts}, reduce="lifetime_sum")

    def _log_episode(self, metrics: Any, returns: EpisodeReturns) -> None:
        total, window = float(returns.reward.sum()), self._window
        means: dict[str, Any] = {
            EPISODE_LEN_MEAN: returns.length,
            EPISODE_RETURN_MEAN: total,
            EPISODE_DURATION_SEC_MEAN: returns.duration_s,
        }
        if self._is_listing_agents:
            agents = self._policies.agents
            means[EPISODE_AGENT_RETURN_MEAN] = dict(
                zip(agents, returns.reward.tolist(), strict=True)
            )
            means[EPISODE_AGENT_STEPS] = dict(
                zip(agents, returns.agent_steps.tolist(), strict=True)
            )
            means[EPISODE_MODULE_RETURN_MEAN] = self._sum_by_policy(returns.reward)
        metrics.log_dict(means, window=window)
        lowest = {EPISODE_LEN_MIN: returns.length, EPISODE_RETURN_MIN: total}
        highest = {EPISODE_LEN_MAX: returns.length, EPISODE_RETURN_MAX: total}
        metrics.log_dict(lowest, reduce="min", window=window)
        metrics.log_dict(highest, reduce="max", window=window)

    def _sum_by_policy(self, values: np.ndarray) -> dict[str, float]:
        names = self._policies.policies
        sums = np.bincount(self._policies.rows, weights=values, minlength=len(names))
        return dict(zip(names, sums.astype(values.dtype).tolist(), strict=True))

    def _reset(self) -> None:
        self._env_steps = 0
        self._agent_steps = np.zeros(len(self._policies.agents), np.int64)
        self._episodes: list[EpisodeReturns] = []


def _log_count(metrics: Any, name: str, count: int) -> None:
    metrics.log_value(name, count, reduce="sum")


def _log_lifetime(metrics: Any, name: str, count: int) -> None:
    metrics.log_value(name, count, reduce="lifetime_sum")


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
