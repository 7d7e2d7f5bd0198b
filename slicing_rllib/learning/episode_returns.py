"""What an episode's metrics are computed from: sums of rewards and numbers of steps."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from slicing_rllib.env import StepColumns


class EpisodeReturns:
    """Sums over the steps of one episode, an entry per agent."""

    def __init__(self, n_agents: int) -> None:
        """Zeros; the episode's duration counts from now on."""
        self.reward = np.zeros(n_agents)
        self.agent_steps = np.zeros(n_agents, np.int64)
        self.length = 0
        self._started = time.perf_counter()

    @property
    def duration_s(self) -> float:
        """Seconds since the episode began, or since it was restored."""
        return time.perf_counter() - self._started

    def add(self, columns: StepColumns) -> None:
        """Add one step."""
        self.reward += columns.reward
        self.agent_steps += columns.live
        self.length += 1

    def state(self) -> dict[str, Any]:
        """Copies of the sums, for a checkpoint."""
        return {
            "reward": self.reward.copy(),
            "agent_steps": self.agent_steps.copy(),
            "length": self.length,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a `state` back."""
        self.reward = np.array(state["reward"])
        self.agent_steps = np.array(state["agent_steps"])
        self.length = int(state["length"])
