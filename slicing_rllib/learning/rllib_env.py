"""The network as RLlib's own algorithms take it."""

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv

from slicing_rllib.env import SlicingEnv


class RLlibSlicingEnv(ParallelPettingZooEnv):
    """RLlib's wrapper with cells in order, spaces of cells that are off, and an end of episodes."""

    def __init__(self, env: SlicingEnv) -> None:
        MultiAgentEnv.__init__(self)
        self.par_env = env
        self.possible_agents = list(env.possible_agents)
        self.agents = list(env.possible_agents)
        self.observation_space = spaces.Dict(
            {cell: env.observation_space(cell) for cell in env.cells}
        )
        self.action_space = spaces.Dict({cell: env.action_space(cell) for cell in env.cells})

    def step(self, action_dict: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        obs, rewards, terminated, truncated, infos = self.par_env.step(action_dict)
        self.agents = list(self.par_env.agents)
        ends = {"__all__": not self.agents}
        return obs, rewards, terminated | {"__all__": False}, truncated | ends, infos

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        found = self.par_env.reset(seed=seed, options=options)
        self.agents = list(self.par_env.agents)
        return found
