"""An adapter that makes parallel environments of PettingZoo and of RLlib columnar ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pettingzoo import ParallelEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from slicing_rllib.env import StepColumns
from slicing_rllib.learning.adapted_env import AdaptedEnv, make_step_columns
from slicing_rllib.learning.agent_spaces import AgentSpaces, SpaceError
from slicing_rllib.learning.defaults import SquashSetting

EVERYONE = "__all__"
"""Under this key RLlib's environments say that the episode is over for all agents."""


class ParallelColumns(AdaptedEnv):
    """Agents in natural order, whatever the environment's own order; agents may come and go."""

    def __init__(
        self, env: ParallelEnv[Any, Any, Any] | MultiAgentEnv, squash: SquashSetting = "auto"
    ) -> None:
        """Raises: SpaceError for spaces that TD3 cannot use, and for agents that differ in them."""
        super().__init__(env, *_read_agents(env, squash))
        self._acting = np.zeros(len(self.cells), bool)
        self._last_obs = np.zeros((len(self.cells), self.obs_size), np.float32)
        self._is_listing = isinstance(env, ParallelEnv)

    def reset_columns(self, seed: int | None = None) -> StepColumns:
        """First observations of a new episode."""
        obs, self.infos = self.unwrapped.reset(seed=seed)
        self._acting[:] = False
        nothing = np.zeros((len(self.cells), self.action_size), np.float32)
        return self._make_columns(obs, {}, {}, {}, nothing)

    def step_columns(self, action: np.ndarray) -> StepColumns:
        """One step with the actions of the agents that are there."""
        chosen = {
            self.ids[spaces.agent]: spaces.scale_action(row)
            for spaces, row, acts in zip(self.spaces, action, self._acting, strict=True)
            if acts
        }
        obs, reward, terminated, truncated, self.infos = self.unwrapped.step(chosen)
        return self._make_columns(obs, reward, terminated, truncated, action)

    def _make_columns(
        self,
        obs: Mapping[Any, Any],
        reward: Mapping[Any, float],
        terminated: Mapping[Any, bool],
        truncated: Mapping[Any, bool],
        action: np.ndarray,
    ) -> StepColumns:
        ids = [self.ids[cell] for cell in self.cells]
        acted = self._acting
        live = acted | np.array([agent in obs and self._is_listed(agent) for agent in ids])
        flags = {
            "terminated": live & _read_flags(terminated, ids),
            "truncated": live & _read_flags(truncated, ids),
            "live": live,
        }
        done = flags["terminated"] | flags["truncated"]
        stacked = np.zeros_like(self._last_obs)
        for row in np.flatnonzero(live).tolist():
            stacked[row] = self._read_obs(row, obs, is_terminated=bool(flags["terminated"][row]))
        self._last_obs, self._acting = stacked, live & ~done
        rewards = [float(reward.get(agent, 0.0)) for agent in ids]
        return make_step_columns(
            stacked, action, rewards, {**flags, "controlled": self._acting.copy()}
        )

    def _read_obs(self, row: int, obs: Mapping[Any, Any], *, is_terminated: bool) -> np.ndarray:
        """An agent's observation; its last one if it terminated and so needs none.

        Raises: SpaceError for an agent that acted and got no observation.
        """
        agent = self.ids[self.cells[row]]
        if agent in obs:
            return self.spaces[row].flatten_obs(obs[agent])
        if is_terminated:
            return self._last_obs[row]
        raise SpaceError(
            f"agent {self.cells[row]}: no observation after a step in which it acted and did not "
            "terminate; expected agents that all act in every step"
        )

    def _is_listed(self, agent: Any) -> bool:
        """Some environments of PettingZoo send observations of agents that are gone."""
        return not self._is_listing or agent in self.unwrapped.agents

    def _get_adapter_state(self) -> dict[str, Any]:
        return {"acting": self._acting.copy(), "last_obs": self._last_obs.copy()}

    def _set_adapter_state(self, state: Mapping[str, Any]) -> None:
        self._acting, self._last_obs = np.array(state["acting"]), np.array(state["last_obs"])


def _read_agents(env: Any, squash: SquashSetting) -> tuple[list[AgentSpaces], dict[str, Any]]:
    """Spaces and the environment's own name of each agent; our names are strings."""
    ids = {str(agent): agent for agent in env.possible_agents}
    if len(ids) != len(env.possible_agents):
        raise SpaceError(f"possible_agents {env.possible_agents}: expected different names")
    is_rllib = isinstance(env, MultiAgentEnv)
    get_obs = env.get_observation_space if is_rllib else env.observation_space
    get_action = env.get_action_space if is_rllib else env.action_space
    agents = [
        AgentSpaces(name, get_obs(agent), get_action(agent), squash) for name, agent in ids.items()
    ]
    return agents, ids


def _read_flags(flags: Mapping[Any, bool], agents: Sequence[Any]) -> np.ndarray:
    everyone = bool(flags.get(EVERYONE, False))
    return np.array([everyone or bool(flags.get(agent, False)) for agent in agents])
