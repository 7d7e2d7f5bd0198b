"""RLlib's callbacks of an env runner, and the episodes that they are given.

Episodes of RLlib are only built where a callback reads them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils import force_list

from slicing_rllib.env import BatchedEnv, BatchedStep
from slicing_rllib.learning.adapters import EVERYONE, SINGLE_AGENT, BatchedGymnasium, unwrap
from slicing_rllib.learning.policy_map import PolicyMap
from slicing_rllib.learning.sampled_env import SampledEnv, Step

EPISODE_HOOKS = ("on_episode_created", "on_episode_start", "on_episode_step", "on_episode_end")
HOOKS = (*EPISODE_HOOKS, "on_sample_end", "on_environment_created")


class RunnerCallbacks:
    """Calls what is attached; without any callback nothing is recorded, which costs no time."""

    def __init__(self, runner: Any, config: Any) -> None:
        """`runner` is what RLlib passes as `env_runner`."""
        self._runner, self._config = runner, config
        self._objects = [made() for made in force_list(config.callbacks_class)]
        self._functions = {hook: getattr(config, f"callbacks_{hook}", None) or [] for hook in HOOKS}
        overridden = {
            hook
            for hook in HOOKS
            for each in self._objects
            if getattr(type(each), hook) is not getattr(RLlibCallback, hook)
        }
        self._hooks = overridden | {hook for hook in HOOKS if self._functions[hook]}
        self._is_recording = bool(self._hooks & {*EPISODE_HOOKS, "on_sample_end"})
        self._writers: dict[int, _SingleAgentWriter | _MultiAgentWriter] = {}
        self._chunks: dict[int, list[Any]] = {}
        """By environment, what `on_sample_end` was given of the episode under way."""
        self._done: list[Any] = []

    def call_environment_created(self, env: BatchedEnv, context: Any) -> None:
        self._call("on_environment_created", env=unwrap(env), env_context=context)

    def begin_step(self, index: int, sampled: SampledEnv, policies: PolicyMap) -> None:
        """A step begins; with it an episode, if none is under way."""
        if not self._is_recording or index in self._writers:
            return
        name = f"{self._runner.index}_{index}_{sampled.episodes}"
        if isinstance(sampled.env, BatchedGymnasium):
            self._writers[index] = _SingleAgentWriter(sampled, name)
        else:
            self._writers[index] = _MultiAgentWriter(sampled, policies, name)
        self._chunks[index] = []
        self._call_episode("on_episode_created", index, sampled)
        self._writers[index].add_reset(sampled)
        self._call_episode("on_episode_start", index, sampled)

    def end_step(
        self, index: int, sampled: SampledEnv, before: BatchedStep, after: BatchedStep
    ) -> None:
        """A step has been made; the episode may be over."""
        if not self._is_recording:
            return
        self._writers[index].add_step(sampled, before, after)
        self._call_episode("on_episode_step", index, sampled)
        if sampled.over:
            chunks = self._chunks.pop(index)
            self._call_episode("on_episode_end", index, sampled, prev_episode_chunks=chunks)
            self._done.append(self._writers.pop(index).episode)

    def abandon_episode(self, index: int) -> None:
        self._writers.pop(index, None)
        self._chunks.pop(index, None)

    def end_sample(self, steps: Sequence[Step]) -> None:
        """A request for samples is done: `on_sample_end` is given the episodes, or what there is.

        Episodes under way are cut, so that each step is given once.
        """
        samples, self._done = self._done, []
        if not steps or "on_sample_end" not in self._hooks:
            return
        for index, writer in self._writers.items():
            if len(writer.episode):
                samples.append(writer.episode)
                self._chunks[index].append(writer.episode)
                horizon = self._config.episode_lookback_horizon
                writer.episode = writer.episode.cut(len_lookback_buffer=horizon)
        self._call("on_sample_end", samples=samples)

    def _call_episode(self, hook: str, index: int, sampled: SampledEnv, **more: Any) -> None:
        self._call(
            hook,
            episode=self._writers[index].episode,
            env=unwrap(sampled.env),
            env_index=index,
            rl_module=self._runner.module,
            **more,
        )

    def _call(self, hook: str, **arguments: Any) -> None:
        if hook in self._hooks:
            own = {"env_runner": self._runner, "metrics_logger": self._runner.metrics}
            make_callback(
                hook,
                callbacks_objects=self._objects,
                callbacks_functions=self._functions[hook],
                kwargs=own | arguments,
            )


class _SingleAgentWriter:
    """Writes the steps of a Gymnasium environment into an episode of a single agent."""

    def __init__(self, sampled: SampledEnv, episode_id: str) -> None:
        self._spaces = sampled.spaces[0]
        self.episode: Any = SingleAgentEpisode(
            id_=episode_id, observation_space=self._spaces.obs, action_space=self._spaces.action
        )

    def add_reset(self, sampled: SampledEnv) -> None:
        obs = self._spaces.restore_obs(sampled.batched.obs[0])
        infos = sampled.read_infos().get(SINGLE_AGENT)
        self.episode.add_env_reset(observation=obs, infos=infos)

    def add_step(self, sampled: SampledEnv, before: BatchedStep, after: BatchedStep) -> None:
        self.episode.add_env_step(
            observation=self._spaces.restore_obs(after.obs[0]),
            action=self._spaces.scale_action(after.action[0]),
            reward=float(after.reward[0]),
            infos=sampled.infos.get(SINGLE_AGENT),
            terminated=bool(after.terminated[0]),
            truncated=bool(after.truncated[0]),
        )


class _MultiAgentWriter:
    """Writes the steps of all agents into one episode, under the environment's own names."""

    def __init__(self, sampled: SampledEnv, policies: PolicyMap, episode_id: str) -> None:
        self._agents = list(zip(sampled.ids.values(), sampled.spaces, strict=True))
        own_name = {agent: spaces.agent for agent, spaces in self._agents}
        self.episode: Any = MultiAgentEpisode(
            id_=episode_id,
            agent_to_module_mapping_fn=lambda agent, _: policies.find_policy(own_name[agent]),
        )
        self._is_done = np.zeros(len(self._agents), bool)

    def add_reset(self, sampled: SampledEnv) -> None:
        observations = self._collect_obs(sampled.batched, sampled.batched.live)
        infos = sampled.read_infos()
        own_infos = {agent: infos[agent] for agent in observations if agent in infos}
        self.episode.add_env_reset(observations=observations, infos=own_infos)

    def add_step(self, sampled: SampledEnv, before: BatchedStep, after: BatchedStep) -> None:
        is_over, infos = sampled.over, sampled.infos
        # In an episode of RLlib an agent that was done does not come back.
        live = after.live & ~self._is_done
        observations = self._collect_obs(after, live)
        actions, rewards = {}, {}
        for row in np.flatnonzero(live & before.live).tolist():
            agent, spaces = self._agents[row]
            actions[agent] = spaces.scale_action(after.action[row])
            rewards[agent] = float(after.reward[row])
        terminated, truncated = after.terminated & live, after.truncated & live
        self._is_done |= terminated | truncated
        all_terminated = is_over and bool(terminated[live].all())
        if is_over and not terminated.any():
            # RLlib takes an episode for terminated if its agents are flagged one by one.
            truncated = np.zeros_like(truncated)
        self.episode.add_env_step(
            observations=observations,
            actions=actions,
            rewards=rewards,
            infos={agent: infos[agent] for agent in observations if agent in infos},
            terminateds=self._collect_flags(terminated, all_terminated),
            truncateds=self._collect_flags(truncated, is_over and not all_terminated),
        )

    def _collect_obs(self, batched: BatchedStep, rows: np.ndarray) -> dict[Any, Any]:
        chosen = [(row, *self._agents[row]) for row in np.flatnonzero(rows).tolist()]
        return {agent: spaces.restore_obs(batched.obs[row]) for row, agent, spaces in chosen}

    def _collect_flags(self, flags: np.ndarray, everyone: bool) -> dict[Any, bool]:
        flagged = {self._agents[row][0]: True for row in np.flatnonzero(flags).tolist()}
        return {**flagged, EVERYONE: everyone}
