"""The columnar face of a multi-cell environment: one array per quantity, one row per cell."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32

from slicing_rllib.env.counterfactual import CounterfactualReward


class StepColumns(NamedTuple):
    """What one network step showed, for every cell that may ever be there."""

    obs: Float32[np.ndarray, "cell obs"]
    """Zero where the cell is not live."""
    reward: Float32[np.ndarray, " cell"]
    action: Float32[np.ndarray, "cell action"]
    """The action in force: the default one where the cell's policy did not decide."""
    terminated: Bool[np.ndarray, " cell"]
    truncated: Bool[np.ndarray, " cell"]
    live: Bool[np.ndarray, " cell"]
    """The cell took part in this step: its obs and reward are real."""
    controlled: Bool[np.ndarray, " cell"]
    """The cell's own policy decides its next action."""
    feedback: Float32[np.ndarray, "cell feedback"]
    """What the step tells about every action, for `counterfactual`; perhaps no columns."""
    outcome: Float32[np.ndarray, "cell outcome"]
    """What the reward was made from, so that it can be made again for another SLA."""


@runtime_checkable
class Counterfactual(Protocol):
    """An environment that can tell what other actions would have got."""

    def rewards_if(
        self, action: Float32[np.ndarray, "cell action"]
    ) -> Float32[np.ndarray, " cell"]:
        """Rewards that the next `step_columns(action)` would give; nothing moves on."""
        ...


@runtime_checkable
class ColumnarEnv(Protocol):
    """A multi-cell environment that steps all cells at once."""

    cells: tuple[str, ...]
    """Every cell that may ever be there, in natural order (cell_2 before cell_10)."""
    obs_size: int
    action_size: int
    feedback_size: int
    """Zero where `counterfactual` is None."""
    counterfactual: CounterfactualReward | None
    """The reward of any action in a measured step, if the environment can tell it."""
    outcome_size: int
    """Zero where rewards cannot be made again."""

    def reset_columns(self, seed: int | None = None) -> StepColumns:
        """First observations of a new episode; rewards are zero, nothing is done."""
        ...

    def step_columns(self, action: Float32[np.ndarray, "cell action"]) -> StepColumns:
        """One network step; rows of cells that are not controlled are ignored."""
        ...

    def state(self) -> dict[str, Any]:
        """All that a bit-exact continuation needs: arrays, numbers and strings."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues where `state` was taken."""
        ...
