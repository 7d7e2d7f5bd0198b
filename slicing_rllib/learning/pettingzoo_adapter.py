"""An adapter that makes any PettingZoo parallel environment a columnar one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pettingzoo import ParallelEnv

from slicing_rllib.env import ColumnarEnv, CounterfactualReward, StepColumns
from slicing_rllib.learning.rl_module import natural_key


def make_columnar(env: Any) -> ColumnarEnv:
    """The environment itself if it is columnar, else an adapter around it."""
    return env if isinstance(env, ColumnarEnv) else PettingZooColumns(env)


class PettingZooColumns:
    """Agents in natural order, whatever the environment's own order; agents may come and go."""

    def __init__(self, env: ParallelEnv) -> None:
        """Raises: ValueError where agents' spaces differ."""
        self._env = env
        self.cells = tuple(sorted(env.possible_agents, key=natural_key))
        shapes: set[Any] = {
            (env.observation_space(cell).shape, env.action_space(cell).shape) for cell in self.cells
        }
        if len(shapes) != 1:
            raise ValueError(f"agents: expected equal spaces for all, got shapes {sorted(shapes)}")
        ((obs,), (action,)) = next(iter(shapes))
        self.obs_size: int = obs
        self.action_size: int = action
        self.feedback_size = self.outcome_size = 0
        self.counterfactual: CounterfactualReward | None = None

    def reset_columns(self, seed: int | None = None) -> StepColumns:
        """First observations of a new episode."""
        obs, _ = self._env.reset(seed=seed)
        nothing = np.zeros((len(self.cells), self.action_size), np.float32)
        return self._columns(obs, {}, {}, {}, nothing)

    def step_columns(self, action: np.ndarray) -> StepColumns:
        """One step with the actions of the agents that are there."""
        chosen = {
            cell: row
            for cell, row in zip(self.cells, action, strict=True)
            if cell in self._env.agents
        }
        obs, reward, terminated, truncated, _ = self._env.step(chosen)
        return self._columns(obs, reward, terminated, truncated, action)

    def state(self) -> dict[str, Any]:
        """Raises: NotImplementedError: PettingZoo knows no saved states."""
        raise NotImplementedError(f"{type(self._env).__name__} offers no state to save")

    def restore(self, state: Mapping[str, Any]) -> None:
        """Raises: NotImplementedError: PettingZoo knows no saved states."""
        raise NotImplementedError(f"{type(self._env).__name__} offers no state to restore")

    def _columns(
        self,
        obs: Mapping[str, np.ndarray],
        reward: Mapping[str, float],
        terminated: Mapping[str, bool],
        truncated: Mapping[str, bool],
        action: np.ndarray,
    ) -> StepColumns:
        live = np.array([cell in obs for cell in self.cells])
        stacked = np.zeros((len(self.cells), self.obs_size), np.float32)
        for row, cell in enumerate(self.cells):
            if cell in obs:
                stacked[row] = obs[cell]
        agents = set(self._env.agents)
        return StepColumns(
            obs=stacked,
            reward=np.array([reward.get(cell, 0.0) for cell in self.cells], np.float32),
            action=np.asarray(action, np.float32),
            terminated=np.array([bool(terminated.get(cell, False)) for cell in self.cells]),
            truncated=np.array([bool(truncated.get(cell, False)) for cell in self.cells]),
            live=live,
            controlled=live & np.array([cell in agents for cell in self.cells]),
            feedback=np.empty((len(self.cells), 0), np.float32),
            outcome=np.empty((len(self.cells), 0), np.float32),
        )
