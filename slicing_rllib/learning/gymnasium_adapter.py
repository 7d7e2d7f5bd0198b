"""An adapter that makes a Gymnasium environment a columnar one with a single agent."""

from typing import Any

import gymnasium
import numpy as np

from slicing_rllib.env import StepColumns
from slicing_rllib.learning.adapted_env import AdaptedEnv, make_step_columns
from slicing_rllib.learning.agent_spaces import AgentSpaces
from slicing_rllib.learning.defaults import SquashSetting

SINGLE_AGENT = "default_agent"
"""RLlib's name of the only agent."""


class GymnasiumColumns(AdaptedEnv):
    """One agent, `default_agent`, whose policy RLlib calls `default_policy`."""

    def __init__(self, env: gymnasium.Env[Any, Any], squash: SquashSetting = "auto") -> None:
        """Raises: SpaceError for spaces that TD3 cannot use."""
        agent = AgentSpaces(SINGLE_AGENT, env.observation_space, env.action_space, squash)
        super().__init__(env, [agent], {SINGLE_AGENT: SINGLE_AGENT})

    def reset_columns(self, seed: int | None = None) -> StepColumns:
        """First observation of a new episode."""
        obs, info = self.unwrapped.reset(seed=seed)
        self.infos = {SINGLE_AGENT: info}
        return self._make_columns(obs, np.zeros((1, self.action_size)), 0.0, False, False)

    def step_columns(self, action: np.ndarray) -> StepColumns:
        """One step with the scaled action."""
        scaled = self.spaces[0].scale_action(action[0])
        obs, reward, terminated, truncated, info = self.unwrapped.step(scaled)
        self.infos = {SINGLE_AGENT: info}
        return self._make_columns(obs, action, float(reward), bool(terminated), bool(truncated))

    def _make_columns(
        self, obs: Any, action: np.ndarray, reward: float, terminated: bool, truncated: bool
    ) -> StepColumns:
        flags = {
            "terminated": [terminated],
            "truncated": [truncated],
            "live": [True],
            "controlled": [not (terminated or truncated)],
        }
        flattened = self.spaces[0].flatten_obs(obs)[None]
        return make_step_columns(flattened, action, [reward], flags)
