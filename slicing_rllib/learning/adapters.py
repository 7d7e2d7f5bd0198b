"""Other projects' environments as batched ones, with a row per agent; and how they are made."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from pettingzoo import AECEnv, ParallelEnv  # pyright: ignore[reportMissingTypeStubs]
from pettingzoo.utils.conversions import aec_to_parallel
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv, PettingZooEnv
from ray.rllib.utils.error import EnvError

from slicing_rllib.env import BatchedEnv, BatchedStep, CounterfactualReward, RestorableEnv, Squash
from slicing_rllib.learning.rl_module import AgentSpaces, SpaceError, natural_key
from slicing_rllib.learning.td3_settings import SquashSetting


class AdaptedEnv(ABC):
    """Another project's environment as a batched one, with a row per agent in natural order.

    Rows of actions are what policies choose: shares, or numbers from -1 to 1.
    """

    def __init__(self, env: Any, agents: Sequence[AgentSpaces], ids: Mapping[str, Any]) -> None:
        """`ids` gives the environment's own name of each agent.

        Raises: SpaceError where agents' spaces differ in size or in the kind of their actions.
        """
        if not agents:
            raise SpaceError(f"{type(env).__name__}: possible_agents is empty, expected agents")
        self.unwrapped = env
        """The environment as its project wrote it."""
        self.spaces = tuple(sorted(agents, key=lambda agent: natural_key(agent.agent)))
        self.cells = tuple(agent.agent for agent in self.spaces)
        self.ids = {name: ids[name] for name in self.cells}
        first = self.spaces[0]
        for other in self.spaces[1:]:
            _require_equal_sizes(first, other)
        self.obs_size, self.action_size = first.obs_size, first.action_size
        self.squash: Squash = first.squash
        self.counterfactual_inputs_size = self.reward_inputs_size = 0
        self.counterfactual: CounterfactualReward | None = None
        self.infos: Mapping[Any, Any] = {}
        """By agent: what the environment said beside the last step."""

    @abstractmethod
    def reset_batched(self, seed: int | None = None) -> BatchedStep:
        """First observations of a new episode."""

    @abstractmethod
    def step_batched(self, action: np.ndarray) -> BatchedStep:
        """One step with the actions of the agents that are there."""

    @property
    def offers_state(self) -> bool:
        """Whether the environment has our `state` and `restore`; PettingZoo's `state` is other."""
        return callable(getattr(self.unwrapped, "restore", None)) and callable(
            getattr(self.unwrapped, "state", None)
        )

    def state(self) -> dict[str, Any]:
        """The environment's state, and that of the adapter."""
        return {"env": self.unwrapped.state(), "adapter": self._get_adapter_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state`."""
        self.unwrapped.restore(state["env"])
        self._set_adapter_state(state["adapter"])

    def close(self) -> None:
        """Close the environment, if it can be closed."""
        close: Callable[[], None] | None = getattr(self.unwrapped, "close", None)
        if close is not None:
            close()

    def _get_adapter_state(self) -> dict[str, Any]:
        return {}

    def _set_adapter_state(self, state: Mapping[str, Any]) -> None:
        assert not state


def make_batched_step(
    obs: np.ndarray,
    action: np.ndarray,
    reward: Sequence[float],
    flags: Mapping[str, Any],
) -> BatchedStep:
    """A step of an environment that measures nothing beside rewards.

    `flags` are `terminated`, `truncated`, `live` and `controlled`, a boolean per agent each.
    """
    nothing = np.empty((len(obs), 0), np.float32)
    return BatchedStep(
        obs=obs,
        reward=np.array(reward, np.float32),
        action=np.asarray(action, np.float32),
        **{name: np.array(values, bool) for name, values in flags.items()},
        counterfactual_inputs=nothing,
        reward_inputs=nothing,
    )


def offers_state(env: BatchedEnv) -> bool:
    """Whether the environment's state can be part of a checkpoint."""
    return env.offers_state if isinstance(env, AdaptedEnv) else isinstance(env, RestorableEnv)


def get_infos(env: BatchedEnv) -> Mapping[Any, Any]:
    """What the environment said beside its last step, by its own name of each agent."""
    return env.infos if isinstance(env, AdaptedEnv) else {}


def find_squash(env: BatchedEnv) -> Squash:
    """How actions of this environment are computed; those of batched ones are shares."""
    return env.squash if isinstance(env, AdaptedEnv) else "softmax"


def _require_equal_sizes(one: AgentSpaces, other: AgentSpaces) -> None:
    for what, name in (("obs_size", "obs"), ("action_size", "action"), ("squash", "action")):
        if getattr(one, what) != getattr(other, what):
            raise SpaceError(
                f"agents {one.agent} and {other.agent}: expected equal spaces for all agents, got "
                f"{getattr(one, name)} and {getattr(other, name)}"
            )


SINGLE_AGENT = "default_agent"
"""RLlib's name of the only agent."""


class BatchedGymnasium(AdaptedEnv):
    """One agent, `default_agent`, whose policy RLlib calls `default_policy`."""

    def __init__(self, env: gymnasium.Env[Any, Any], squash: SquashSetting = "auto") -> None:
        """Raises: SpaceError for spaces that TD3 cannot use."""
        agent = AgentSpaces(SINGLE_AGENT, env.observation_space, env.action_space, squash)
        super().__init__(env, [agent], {SINGLE_AGENT: SINGLE_AGENT})

    def reset_batched(self, seed: int | None = None) -> BatchedStep:
        """First observation of a new episode."""
        obs, info = self.unwrapped.reset(seed=seed)
        self.infos = {SINGLE_AGENT: info}
        return self._make_batched(obs, np.zeros((1, self.action_size)), 0.0, False, False)

    def step_batched(self, action: np.ndarray) -> BatchedStep:
        """One step with the scaled action."""
        scaled = self.spaces[0].scale_action(action[0])
        obs, reward, terminated, truncated, info = self.unwrapped.step(scaled)
        self.infos = {SINGLE_AGENT: info}
        return self._make_batched(obs, action, float(reward), bool(terminated), bool(truncated))

    def _make_batched(
        self, obs: Any, action: np.ndarray, reward: float, terminated: bool, truncated: bool
    ) -> BatchedStep:
        flags = {
            "terminated": [terminated],
            "truncated": [truncated],
            "live": [True],
            "controlled": [not (terminated or truncated)],
        }
        flattened = self.spaces[0].flatten_obs(obs)[None]
        return make_batched_step(flattened, action, [reward], flags)


EVERYONE = "__all__"
"""Under this key RLlib's environments say that the episode is over for all agents."""


class BatchedParallel(AdaptedEnv):
    """Agents in natural order, whatever the environment's own order; agents may come and go."""

    def __init__(
        self, env: ParallelEnv[Any, Any, Any] | MultiAgentEnv, squash: SquashSetting = "auto"
    ) -> None:
        """Raises: SpaceError for spaces that TD3 cannot use, and for agents that differ in them."""
        super().__init__(env, *_read_agents(env, squash))
        self._acting = np.zeros(len(self.cells), bool)
        self._last_obs = np.zeros((len(self.cells), self.obs_size), np.float32)
        self._is_listing = isinstance(env, ParallelEnv)

    def reset_batched(self, seed: int | None = None) -> BatchedStep:
        """First observations of a new episode."""
        obs, self.infos = self.unwrapped.reset(seed=seed)
        self._acting[:] = False
        nothing = np.zeros((len(self.cells), self.action_size), np.float32)
        return self._make_batched(obs, {}, {}, {}, nothing)

    def step_batched(self, action: np.ndarray) -> BatchedStep:
        """One step with the actions of the agents that are there."""
        chosen = {
            self.ids[spaces.agent]: spaces.scale_action(row)
            for spaces, row, acts in zip(self.spaces, action, self._acting, strict=True)
            if acts
        }
        obs, reward, terminated, truncated, self.infos = self.unwrapped.step(chosen)
        return self._make_batched(obs, reward, terminated, truncated, action)

    def _make_batched(
        self,
        obs: Mapping[Any, Any],
        reward: Mapping[Any, float],
        terminated: Mapping[Any, bool],
        truncated: Mapping[Any, bool],
        action: np.ndarray,
    ) -> BatchedStep:
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
        return make_batched_step(
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


CONFIG_PARAMETERS = {"config", "cfg", "env_config", "env_context", "context", "ctx", "_"}
"""Names under which classes written for RLlib expect the whole `env_config`."""
EXPECTED = (
    "expected an environment of Gymnasium, a parallel one of PettingZoo, RLlib's MultiAgentEnv or "
    "a batched one (cells, reset_batched, step_batched)"
)


def create_env(config: Any, worker_index: int, vector_index: int) -> tuple[BatchedEnv, EnvContext]:
    """An environment of `config.env`, and the context that it was made with.

    Raises: ValueError that says what is wrong with the environment's name, class or spaces.
    """
    context = EnvContext(
        config.env_config,
        worker_index=worker_index,
        vector_index=vector_index,
        num_workers=config.num_env_runners,
    )
    return make_batched(find_creator(config)(context), config.squash), context


def find_creator(config: Any) -> Callable[[EnvContext], Any]:
    """What makes the environment that a config names: by registered name, id, path or class."""
    env: Any = config.env
    if isinstance(env, type) and not issubclass(env, gymnasium.Env):
        return lambda context: _construct(env, context)
    # RLlib's rules for everything else, which it keeps in a private function.
    _, creator = Algorithm._get_env_id_and_creator(env, config)

    def create(context: EnvContext) -> Any:
        try:
            return creator(context)
        except EnvError as error:
            raise ValueError(f"environment {env!r}: not found; {EXPECTED}") from error

    return create


def make_batched(env: Any, squash: SquashSetting = "auto") -> BatchedEnv:
    """The environment itself if it is batched, else an adapter around it.

    Raises: SpaceError for what is no environment that TD3 can use.
    """
    if isinstance(env, BatchedEnv):
        if squash == "tanh":
            raise SpaceError(
                f"squash tanh: expected softmax or auto, the actions of {type(env).__name__} are "
                "shares"
            )
        return env
    # These wrappers of RLlib list agents in the order of a set, and their episodes never end when
    # some agents terminate and others are truncated.
    if isinstance(env, ParallelPettingZooEnv):
        return make_batched(env.par_env, squash)
    if isinstance(env, PettingZooEnv):
        return make_batched(env.env, squash)
    if isinstance(env, AECEnv):
        return make_batched(_parallelise(env), squash)
    if isinstance(env, ParallelEnv | MultiAgentEnv):
        return BatchedParallel(env, squash)
    if isinstance(env, gymnasium.Env):
        return BatchedGymnasium(env, squash)
    raise SpaceError(f"environment of type {type(env).__name__}: {EXPECTED}")


def _parallelise(env: AECEnv[Any, Any, Any]) -> Any:
    if not env.metadata.get("is_parallelizable", False):
        raise SpaceError(
            f"environment {env}: its agents act in turn, expected a parallel environment"
        )
    return aec_to_parallel(env)


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
