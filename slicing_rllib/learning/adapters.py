"""Other projects' environments as batched ones, and our network as RLlib takes it."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv  # pyright: ignore[reportMissingTypeStubs]
from pettingzoo.utils.conversions import aec_to_parallel
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv, PettingZooEnv
from ray.rllib.utils.error import EnvError
from ray.rllib.utils.spaces.simplex import Simplex

from slicing_rllib.env import (
    BatchedEnv,
    BatchedStep,
    CounterfactualReward,
    RestorableEnv,
    SlicingEnv,
)
from slicing_rllib.env.observation import make_space_of_reports
from slicing_rllib.learning.rl_module import AgentSpaces, SpaceError, natural_key
from slicing_rllib.policies.td3_settings import SquashSetting

SINGLE_AGENT = "default_agent"
"""RLlib's name of the only agent."""
EVERYONE = "__all__"
"""Under this key RLlib's environments say that the episode is over for all agents."""
CONFIG_PARAMETERS = {"config", "cfg", "env_config", "env_context", "context", "ctx", "_"}
"""Names under which classes written for RLlib expect the whole `env_config`."""
EXPECTED = (
    "expected an environment of Gymnasium, a parallel one of PettingZoo, RLlib's MultiAgentEnv or "
    "a batched one (cells, reset_batched, step_batched)"
)


class AdaptedEnv:
    """What batched environments that adapt another project's have in common.

    Agents are in natural order. Rows of actions are what policies choose: shares, or numbers from
    -1 to 1.
    """

    def __init__(self, env: Any, agents: Mapping[Any, AgentSpaces]) -> None:
        """`agents` has the spaces of each agent by the environment's own name of it.

        Raises: SpaceError where agents' spaces differ in size or in the kind of their actions.
        """
        if not agents:
            raise SpaceError(f"{type(env).__name__}: possible_agents is empty, expected agents")
        self.unwrapped = env
        """The environment as its project wrote it."""
        ordered = sorted(agents.items(), key=lambda item: natural_key(item[1].agent))
        self.ids = {own.agent: agent for agent, own in ordered}
        """The environment's own name of each agent."""
        self.spaces = tuple(own for _, own in ordered)
        self.cells = tuple(self.ids)
        first, *others = self.spaces
        own_space = {"obs_size": "obs", "action_size": "action", "squash": "action"}
        for other in others:
            for size, space in own_space.items():
                if getattr(first, size) != getattr(other, size):
                    raise SpaceError(
                        f"agents {first.agent} and {other.agent}: expected equal spaces for all "
                        f"agents, got {getattr(first, space)} and {getattr(other, space)}"
                    )
        self.obs_size, self.action_size = first.obs_size, first.action_size
        self.counterfactual_inputs_size = self.reward_inputs_size = 0
        self.counterfactual: CounterfactualReward | None = None
        self.infos: Mapping[Any, Any] = {}
        """What the environment said beside the last step, by its own name of each agent."""

    def checkpoint_state(self) -> dict[str, Any]:
        return {"env": self.unwrapped.checkpoint_state()}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        self.unwrapped.restore_state(state["env"])


class BatchedGymnasium(AdaptedEnv):
    """One agent, `default_agent`, whose policy RLlib calls `default_policy`."""

    def __init__(self, env: gymnasium.Env[Any, Any], squash: SquashSetting = "auto") -> None:
        self._agent = AgentSpaces(SINGLE_AGENT, env.observation_space, env.action_space, squash)
        super().__init__(env, {SINGLE_AGENT: self._agent})

    def reset_batched(self, seed: int | None = None) -> BatchedStep:
        obs, info = self.unwrapped.reset(seed=seed)
        action = np.zeros((1, self.action_size), np.float32)
        return self._make_batched(obs, info, action, 0.0, False, False)

    def step_batched(self, action: np.ndarray) -> BatchedStep:
        scaled = self._agent.scale_action(action[0])
        obs, reward, terminated, truncated, info = self.unwrapped.step(scaled)
        return self._make_batched(obs, info, action, reward, terminated, truncated)

    def _make_batched(
        self, obs: Any, info: Any, action: np.ndarray, reward: Any, terminated: Any, truncated: Any
    ) -> BatchedStep:
        self.infos = {SINGLE_AGENT: info}
        flags = np.array([[bool(terminated)], [bool(truncated)], [True]])
        rewards = np.array([_read_reward(SINGLE_AGENT, reward)], np.float32)
        return _make_step(self._agent.flatten_obs(obs)[None], action, rewards, *flags)


class BatchedParallel(AdaptedEnv):
    """Agents in natural order, whatever the environment's own order; agents may come and go."""

    def __init__(
        self, env: ParallelEnv[Any, Any, Any] | MultiAgentEnv, squash: SquashSetting = "auto"
    ) -> None:
        """Raises: SpaceError for spaces that TD3 cannot use, and for agents that differ in them."""
        own: Any = env
        if len({str(agent) for agent in own.possible_agents}) != len(own.possible_agents):
            raise SpaceError(f"possible_agents {own.possible_agents}: expected different names")
        self._is_rllib = isinstance(env, MultiAgentEnv)
        find_obs = own.get_observation_space if self._is_rllib else own.observation_space
        find_action = own.get_action_space if self._is_rllib else own.action_space
        agents = {
            agent: AgentSpaces(str(agent), find_obs(agent), find_action(agent), squash)
            for agent in own.possible_agents
        }
        super().__init__(env, agents)
        self._acting = np.zeros(len(self.cells), bool)
        self._last_obs = np.zeros((len(self.cells), self.obs_size), np.float32)

    def reset_batched(self, seed: int | None = None) -> BatchedStep:
        obs, self.infos = self.unwrapped.reset(seed=seed)
        self._acting = np.zeros(len(self.cells), bool)
        nothing = np.zeros((len(self.cells), self.action_size), np.float32)
        return self._make_batched(obs, {}, {}, {}, nothing)

    def step_batched(self, action: np.ndarray) -> BatchedStep:
        chosen = {
            self.ids[own.agent]: own.scale_action(row)
            for own, row, acts in zip(self.spaces, action, self._acting, strict=True)
            if acts
        }
        obs, reward, terminated, truncated, self.infos = self.unwrapped.step(chosen)
        return self._make_batched(obs, reward, terminated, truncated, action)

    def checkpoint_state(self) -> dict[str, Any]:
        own = {"acting": self._acting, "last_obs": self._last_obs}
        return super().checkpoint_state() | own

    def restore_state(self, state: Mapping[str, Any]) -> None:
        super().restore_state(state)
        self._acting, self._last_obs = state["acting"], state["last_obs"]

    def _make_batched(
        self,
        obs: Mapping[Any, Any],
        reward: Mapping[Any, Any],
        terminated: Mapping[Any, bool],
        truncated: Mapping[Any, bool],
        action: np.ndarray,
    ) -> BatchedStep:
        agents = list(self.ids.values())
        # Some environments of PettingZoo send observations of agents that are gone.
        listed = obs if self._is_rllib else set(self.unwrapped.agents)
        if unknown := [agent for agent in obs if agent in listed and str(agent) not in self.cells]:
            raise SpaceError(
                f"agent {unknown[0]}: expected all agents in possible_agents, got "
                f"{', '.join(self.cells)}"
            )
        live = self._acting | np.array([agent in obs and agent in listed for agent in agents])
        ended, cut = live & _read_flags(terminated, agents), _read_flags(truncated, agents)
        stacked = np.zeros_like(self._last_obs)
        for row in np.flatnonzero(live).tolist():
            if agents[row] in obs:
                stacked[row] = self.spaces[row].flatten_obs(obs[agents[row]])
            elif ended[row]:
                # Nothing is bootstrapped from it: the last one stands in.
                stacked[row] = self._last_obs[row]
            elif cut[row] or not (self._is_rllib or agents[row] in listed):
                # It has left, and nothing can be bootstrapped: its last step is no experience.
                live[row] = False
            else:
                raise SpaceError(
                    f"agent {self.cells[row]}: no observation after a step in which it acted and "
                    "did not end; expected agents that all act in every step"
                )
        rewards = np.array(
            [_read_reward(agent, reward.get(agent, 0.0)) for agent in agents], np.float32
        )
        step = _make_step(stacked, action, rewards, ended, live & cut, live)
        self._last_obs, self._acting = stacked, step.controlled
        return step


def _read_reward(agent: Any, reward: Any) -> float:
    if np.size(reward) != 1:
        raise SpaceError(f"reward of agent {agent}: expected a number, got {reward!r}")
    return float(np.reshape(reward, ()))


def _read_flags(flags: Mapping[Any, bool], agents: Sequence[Any]) -> np.ndarray:
    everyone = bool(flags.get(EVERYONE, False))
    return np.array([everyone or bool(flags.get(agent, False)) for agent in agents])


def _make_step(
    obs: np.ndarray,
    action: np.ndarray,
    reward: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    live: np.ndarray,
) -> BatchedStep:
    """A step of an environment that measures nothing beside rewards; who goes on, is controlled."""
    nothing = np.empty((len(obs), 0), np.float32)
    controlled = live & ~(terminated | truncated)
    action = np.asarray(action, np.float32)
    return BatchedStep(
        obs, reward, action, terminated, truncated, live, controlled, nothing, nothing
    )


def find_agents(env: BatchedEnv) -> tuple[Mapping[str, Any], tuple[AgentSpaces, ...]]:
    """The environment's own name of each agent, and the spaces of all of them.

    The actions of an environment that was written as a batched one are shares.
    """
    if isinstance(env, AdaptedEnv):
        return env.ids, env.spaces
    bound = np.full(env.obs_size, np.inf, np.float32)
    obs = make_space_of_reports(-bound, bound, getattr(env, "heard", None))
    action = Simplex((env.action_size,))
    own = tuple(AgentSpaces(cell, obs, action) for cell in env.cells)
    return dict(zip(env.cells, env.cells, strict=True)), own


def unwrap(env: BatchedEnv) -> Any:
    """The environment as its user wrote it."""
    return env.unwrapped if isinstance(env, AdaptedEnv) else env


def offers_state(env: BatchedEnv) -> bool:
    """Whether checkpoints can hold the environment's state."""
    return isinstance(unwrap(env), RestorableEnv)


def create_env(config: Any, worker_index: int, vector_index: int) -> tuple[BatchedEnv, EnvContext]:
    """An environment of `config.env`, and the context that it was made with.

    A network whose map no setting names has that of the config's seed, in all env runners.
    Raises: ValueError that says what is wrong with the environment's name, class or spaces.
    """
    context = EnvContext(
        config.env_config,
        worker_index=worker_index,
        vector_index=vector_index,
        num_workers=config.num_env_runners,
    )
    env: Any = config.env
    if isinstance(env, type) and not issubclass(env, gymnasium.Env):
        return _keep_map(make_batched(_construct(env, context), config.squash), config), context
    # RLlib's rules for everything else, which it keeps in a private function.
    _, creator = Algorithm._get_env_id_and_creator(env, config)
    try:
        created = creator(context)
    except EnvError as error:
        raise ValueError(f"environment {env!r}: not found; {EXPECTED}") from error
    return _keep_map(make_batched(created, config.squash), config), context


def _keep_map(env: BatchedEnv, config: Any) -> BatchedEnv:
    if isinstance(env, SlicingEnv) and env.map_seed is None:
        env.map_seed = config.seed or 0
    return env


def make_batched(env: Any, squash: SquashSetting = "auto") -> BatchedEnv:
    """The environment itself if it is batched, else an adapter around it.

    Raises: SpaceError for what is no environment that TD3 can use.
    """
    # These wrappers of RLlib list agents in the order of a set, and their episodes never end when
    # some agents terminate and others are truncated.
    if isinstance(env, ParallelPettingZooEnv):
        env = env.par_env
    elif isinstance(env, PettingZooEnv):
        env = env.env
    if isinstance(env, BatchedEnv):
        if squash == "tanh":
            raise SpaceError(
                f"squash tanh: expected softmax or auto, the actions of {type(env).__name__} are "
                "shares"
            )
        return env
    if isinstance(env, AECEnv):
        if not env.metadata.get("is_parallelizable", False):
            raise SpaceError(
                f"environment {env}: its agents act in turn, expected a parallel environment"
            )
        env = aec_to_parallel(env)
    if isinstance(env, ParallelEnv | MultiAgentEnv):
        return BatchedParallel(env, squash)
    if isinstance(env, gymnasium.Env):
        return BatchedGymnasium(env, squash)
    raise SpaceError(f"environment of type {type(env).__name__}: {EXPECTED}")


def _construct(env_class: type, context: EnvContext) -> Any:
    """Call a class with the whole config, as RLlib does, or with its entries as keywords.

    Raises: ValueError for a config that does not fit the class's parameters.
    """
    parameters = inspect.signature(env_class).parameters
    first = next(iter(parameters), None)
    if first in CONFIG_PARAMETERS and first not in context:
        return env_class(context)
    entries: Mapping[str, Any] = dict(context)
    try:
        inspect.signature(env_class).bind(**entries)
    except TypeError as error:
        raise ValueError(
            f"env_config of {env_class.__name__}: {error}; expected its parameters "
            f"{', '.join(parameters)}, got {', '.join(entries) or 'none'}"
        ) from error
    return env_class(**entries)


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
