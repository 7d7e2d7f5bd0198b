"""What adapters of other projects' environments have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from slicing_rllib.env import (
    ColumnarEnv,
    CounterfactualReward,
    RestorableEnv,
    Squash,
    StepColumns,
)
from slicing_rllib.learning.agent_spaces import AgentSpaces, SpaceError
from slicing_rllib.learning.rl_module import natural_key


class AdaptedEnv(ABC):
    """Another project's environment as a columnar one, with a row per agent in natural order.

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
        self.feedback_size = self.outcome_size = 0
        self.counterfactual: CounterfactualReward | None = None
        self.infos: Mapping[Any, Any] = {}
        """By agent: what the environment said beside the last step."""

    @abstractmethod
    def reset_columns(self, seed: int | None = None) -> StepColumns:
        """First observations of a new episode."""

    @abstractmethod
    def step_columns(self, action: np.ndarray) -> StepColumns:
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


def make_step_columns(
    obs: np.ndarray,
    action: np.ndarray,
    reward: Sequence[float],
    flags: Mapping[str, Any],
) -> StepColumns:
    """Columns of an environment that measures nothing beside rewards.

    `flags` are `terminated`, `truncated`, `live` and `controlled`, a boolean per agent each.
    """
    nothing = np.empty((len(obs), 0), np.float32)
    return StepColumns(
        obs=obs,
        reward=np.array(reward, np.float32),
        action=np.asarray(action, np.float32),
        **{name: np.array(values, bool) for name, values in flags.items()},
        feedback=nothing,
        outcome=nothing,
    )


def offers_state(env: ColumnarEnv) -> bool:
    """Whether the environment's state can be part of a checkpoint."""
    return env.offers_state if isinstance(env, AdaptedEnv) else isinstance(env, RestorableEnv)


def get_infos(env: ColumnarEnv) -> Mapping[Any, Any]:
    """What the environment said beside its last step, by its own name of each agent."""
    return env.infos if isinstance(env, AdaptedEnv) else {}


def find_squash(env: ColumnarEnv) -> Squash:
    """How actions of this environment are computed; those of columnar ones are shares."""
    return env.squash if isinstance(env, AdaptedEnv) else "softmax"


def _require_equal_sizes(one: AgentSpaces, other: AgentSpaces) -> None:
    for what, name in (("obs_size", "obs"), ("action_size", "action"), ("squash", "action")):
        if getattr(one, what) != getattr(other, what):
            raise SpaceError(
                f"agents {one.agent} and {other.agent}: expected equal spaces for all agents, got "
                f"{getattr(one, name)} and {getattr(other, name)}"
            )
