"""What an agent observes and does, as the plain vectors that networks read and write."""

from typing import Any

import numpy as np
from gymnasium import spaces
from ray.rllib.utils.spaces.simplex import Simplex

from slicing_rllib.env import Squash
from slicing_rllib.learning.defaults import SquashSetting

ACTIONS_EXPECTED = "expected a Box with finite bounds, or a Simplex"


class SpaceError(ValueError):
    """An environment's space, observation or action that TD3 cannot use."""


class AgentSpaces:
    """Converts one agent's observations to vectors, and vectors to its actions.

    An observation of any space is flattened as `gymnasium.spaces.flatten` does it. Actions of a
    simplex are shares; those of other bounded spaces are numbers from -1 to 1, which are scaled to
    the bounds.
    """

    def __init__(self, agent: str, obs: Any, action: Any, squash: SquashSetting = "auto") -> None:
        """`squash` says how a Box from 0 to 1 is meant; `auto` takes it for a simplex.

        Raises: SpaceError that names agent, space and what was expected.
        """
        self.agent, self.obs, self.action = agent, obs, action
        self.obs_size = _measure_obs(agent, obs)
        self.squash: Squash = choose_squash(agent, action, squash)
        self.action_size = int(np.prod(action.shape))
        self._obs_shape = obs.shape if isinstance(obs, spaces.Box) else None

    @property
    def module_obs(self) -> spaces.Box:
        """The space of flattened observations."""
        if isinstance(self.obs, spaces.Box) and len(self.obs.shape) == 1:
            return self.obs
        return spaces.Box(-np.inf, np.inf, (self.obs_size,), np.float32)

    def flatten_obs(self, obs: Any) -> np.ndarray:
        """An observation as float32 numbers. Raises: SpaceError where it is not of the space."""
        if self._obs_shape is not None:
            array = np.asarray(obs, np.float32)
            if array.shape != self._obs_shape:
                raise self._refuse_obs(f"shape {array.shape}")
            return array.reshape(-1)
        if not self.obs.contains(obs):
            raise self._refuse_obs(repr(obs))
        return np.asarray(spaces.flatten(self.obs, obs), np.float32)

    def restore_obs(self, vector: np.ndarray) -> Any:
        """The observation that was flattened to this vector."""
        return spaces.unflatten(self.obs, vector)

    def scale_action(self, vector: np.ndarray) -> np.ndarray:
        """The action that the environment is given for a vector that a policy chose."""
        if self.squash == "softmax":
            return vector.reshape(self.action.shape).astype(self.action.dtype)
        low, high = self.action.low, self.action.high
        scaled = low + 0.5 * (vector.reshape(low.shape) + 1.0) * (high - low)
        # Rounding must not lead out of the bounds, which many environments check.
        return np.clip(scaled, low, high).astype(self.action.dtype)

    def _refuse_obs(self, got: str) -> SpaceError:
        return SpaceError(f"observation of agent {self.agent}: expected {self.obs}, got {got}")


def _measure_obs(agent: str, space: Any) -> int:
    """Length of flattened observations."""
    refusal = SpaceError(
        f"agent {agent}: observation space {space}, expected a space of fixed size, such as a Box"
    )
    if not isinstance(space, spaces.Space):
        raise refusal
    try:
        return spaces.flatdim(space)
    except (ValueError, NotImplementedError) as error:
        raise refusal from error


def choose_squash(agent: str, space: Any, setting: SquashSetting) -> Squash:
    """How actions of this space are computed from logits.

    Raises: SpaceError for a space that TD3 cannot use.
    """
    if isinstance(space, Simplex) and space.shape == (space.dim,) and setting != "tanh":
        return "softmax"
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise SpaceError(f"agent {agent}: action space {space}, {ACTIONS_EXPECTED}")
    is_unit = bool((space.low == 0).all() and (space.high == 1).all()) and len(space.shape) == 1
    if setting == "softmax" and not is_unit:
        raise SpaceError(
            f"agent {agent}: action space {space}, expected a Box from 0 to 1 for squash softmax"
        )
    # The softmax of a single number is always 1: one number in [0, 1] is no division.
    if is_unit and setting != "tanh" and space.shape[0] > 1:
        return "softmax"
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise SpaceError(f"agent {agent}: action space {space}, {ACTIONS_EXPECTED}")
    return "tanh"
