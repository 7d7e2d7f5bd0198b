"""Episodes as RLlib's callbacks expect them; they are only built where a callback reads them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from slicing_rllib.env import ColumnarEnv, StepColumns
from slicing_rllib.learning.adapted_env import AdaptedEnv
from slicing_rllib.learning.gymnasium_adapter import SINGLE_AGENT
from slicing_rllib.learning.policy_map import PolicyMap

Episode = MultiAgentEpisode | SingleAgentEpisode


class EpisodeWriter(ABC):
    """Writes the steps of one environment into RLlib's episodes, one episode at a time."""

    episode: Episode
    """The episode under way."""

    @abstractmethod
    def add_reset(self, columns: StepColumns, infos: Mapping[Any, Any]) -> None:
        """Add the first observations."""

    @abstractmethod
    def add_step(
        self, before: StepColumns, after: StepColumns, infos: Mapping[Any, Any], is_over: bool
    ) -> None:
        """Add the step that led from `before` to `after`."""


def make_episode_writer(env: ColumnarEnv, policies: PolicyMap, episode_id: str) -> EpisodeWriter:
    """A writer of a new episode: of a single agent where the environment is Gymnasium's."""
    if env.cells == (SINGLE_AGENT,) and isinstance(env, AdaptedEnv):
        return _SingleAgentWriter(env, episode_id)
    return _MultiAgentWriter(env, policies, episode_id)


class _SingleAgentWriter(EpisodeWriter):
    def __init__(self, env: AdaptedEnv, episode_id: str) -> None:
        self._spaces = env.spaces[0]
        self.episode: Any = SingleAgentEpisode(
            id_=episode_id,
            observation_space=self._spaces.obs,
            action_space=self._spaces.action,
        )

    def add_reset(self, columns: StepColumns, infos: Mapping[Any, Any]) -> None:
        obs = self._spaces.restore_obs(columns.obs[0])
        self.episode.add_env_reset(observation=obs, infos=infos.get(SINGLE_AGENT))

    def add_step(
        self, before: StepColumns, after: StepColumns, infos: Mapping[Any, Any], is_over: bool
    ) -> None:
        self.episode.add_env_step(
            observation=self._spaces.restore_obs(after.obs[0]),
            action=self._spaces.scale_action(after.action[0]),
            reward=float(after.reward[0]),
            infos=infos.get(SINGLE_AGENT),
            terminated=bool(after.terminated[0]),
            truncated=bool(after.truncated[0]),
        )


class _MultiAgentWriter(EpisodeWriter):
    def __init__(self, env: ColumnarEnv, policies: PolicyMap, episode_id: str) -> None:
        self._agents = env.cells
        self._spaces = env.spaces if isinstance(env, AdaptedEnv) else None
        ids = env.ids if isinstance(env, AdaptedEnv) else {cell: cell for cell in env.cells}
        self._ids = [ids[cell] for cell in env.cells]
        own_name = {agent: name for name, agent in ids.items()}
        self.episode: Any = MultiAgentEpisode(
            id_=episode_id,
            agent_to_module_mapping_fn=lambda agent, _: policies.find_policy(own_name[agent]),
        )
        self._is_done = np.zeros(len(env.cells), bool)

    def add_reset(self, columns: StepColumns, infos: Mapping[Any, Any]) -> None:
        observations = self._collect_obs(columns, columns.live)
        own_infos = {agent: infos[agent] for agent in observations if agent in infos}
        self.episode.add_env_reset(observations=observations, infos=own_infos)

    def add_step(
        self, before: StepColumns, after: StepColumns, infos: Mapping[Any, Any], is_over: bool
    ) -> None:
        # In an episode of RLlib an agent that was done does not come back.
        live = after.live & ~self._is_done
        acted = live & before.live
        observations = self._collect_obs(after, live)
        terminated, truncated = after.terminated & live, after.truncated & live
        self._is_done |= terminated | truncated
        all_terminated = is_over and bool(terminated[live].all())
        if is_over and not terminated.any():
            # RLlib takes an episode for terminated if its agents are flagged one by one.
            truncated = np.zeros_like(truncated)
        self.episode.add_env_step(
            observations=observations,
            actions={
                self._ids[row]: self._read_action(row, after)
                for row in np.flatnonzero(acted).tolist()
            },
            rewards={
                self._ids[row]: float(after.reward[row]) for row in np.flatnonzero(acted).tolist()
            },
            infos={agent: infos[agent] for agent in observations if agent in infos},
            terminateds=self._collect_flags(terminated, all_terminated),
            truncateds=self._collect_flags(truncated, is_over and not all_terminated),
        )

    def _collect_obs(self, columns: StepColumns, rows: np.ndarray) -> dict[Any, Any]:
        return {
            self._ids[row]: columns.obs[row]
            if self._spaces is None
            else self._spaces[row].restore_obs(columns.obs[row])
            for row in np.flatnonzero(rows).tolist()
        }

    def _read_action(self, row: int, after: StepColumns) -> np.ndarray:
        action = after.action[row]
        return action if self._spaces is None else self._spaces[row].scale_action(action)

    def _collect_flags(self, flags: np.ndarray, everyone: bool) -> dict[Any, bool]:
        flagged = {self._ids[row]: True for row in np.flatnonzero(flags).tolist()}
        return {**flagged, "__all__": everyone}
