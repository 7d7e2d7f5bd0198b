"""An env runner's metrics under RLlib's names."""

import math
from typing import Any

import numpy as np
from ray.rllib.env.env_runner import NUM_ENV_STEP_FAILURES_LIFETIME
from ray.rllib.utils.metrics import (
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
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
)

from slicing_rllib.learning.episode_returns import EpisodeReturns
from slicing_rllib.learning.policy_map import PolicyMap
from slicing_rllib.learning.sampled_env import Step

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
