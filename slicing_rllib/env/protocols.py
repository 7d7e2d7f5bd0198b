"""What environments, networks and policies offer to each other: arrays with a row per cell."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from slicing_rllib.env.rewards import CounterfactualReward
from slicing_rllib.radio import Scenario, Simulator, StepKpis


class BatchedStep(NamedTuple):
    """The result of one network step, with a row for every cell, live or not."""

    obs: Float32[np.ndarray, "cell obs"]
    """Observation; zeros where the cell is not live."""
    reward: Float32[np.ndarray, " cell"]
    """Reward; zero where the cell is not live."""
    action: Float32[np.ndarray, "cell action"]
    """The action that was applied: the default action where the cell is not controlled."""
    terminated: Bool[np.ndarray, " cell"]
    """The episode ended in a terminal state, as in Gymnasium."""
    truncated: Bool[np.ndarray, " cell"]
    """The episode ended without a terminal state, as in Gymnasium."""
    live: Bool[np.ndarray, " cell"]
    """The cell was on the air in this step, so that its observation and reward are valid."""
    controlled: Bool[np.ndarray, " cell"]
    """The cell's own policy decides its next action."""
    counterfactual_inputs: Float32[np.ndarray, "cell input"]
    """What the step tells about every action, for `counterfactual`; may be empty."""
    reward_inputs: Float32[np.ndarray, "cell input"]
    """The quantities that determine the reward, from which it can be computed for another SLA."""


@runtime_checkable
class LookaheadEnv(Protocol):
    """An environment that can compute the rewards of actions without taking them."""

    def compute_rewards(
        self, action: Float32[np.ndarray, "cell action"]
    ) -> Float32[np.ndarray, " cell"]:
        """Rewards that the next `step_batched(action)` would return; the state does not change."""
        ...


@runtime_checkable
class BatchedEnv(Protocol):
    """A multi-cell environment that steps all cells at once.

    With `RestorableEnv` beside it, checkpoints contain the environment; without, a resumed run
    resets it.
    """

    cells: tuple[str, ...]
    """Names of all cells, in natural order (cell_2 before cell_10)."""
    obs_size: int
    """Length of an observation."""
    action_size: int
    """Length of an action."""
    counterfactual_inputs_size: int
    """Length of the counterfactual inputs; zero where `counterfactual` is None."""
    counterfactual: CounterfactualReward | None
    """The reward of any action in a measured step, if the environment can tell it."""
    reward_inputs_size: int
    """Length of the reward inputs; 0 if rewards cannot be computed for another SLA."""

    def reset_batched(self, seed: int | None = None) -> BatchedStep:
        """First observations of a new episode, with zero rewards."""
        ...

    def step_batched(self, action: Float32[np.ndarray, "cell action"]) -> BatchedStep:
        """One network step; the rows of cells that are not controlled are ignored."""
        ...


@runtime_checkable
class RestorableEnv(Protocol):
    """An environment whose state can be saved, so that a resumed run continues it.

    PettingZoo's `state` is another one.
    """

    def checkpoint_state(self) -> dict[str, Any]:
        """The state that a bit-identical continuation needs: arrays, numbers and strings."""
        ...

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continues from the result of `checkpoint_state`."""
        ...


@dataclass(frozen=True, kw_only=True)
class ObservedSlice:
    """A slice, as far as observations depend on it."""

    name: str
    """Name of the slice."""
    users: int
    """UEs per cell of the network, active or not: the scale of the number of users."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservedNetwork:
    """The part of a `Scenario` that observations depend on, which a policy bundle can keep."""

    cells: tuple[str, ...]
    """Names of the cells, one per row of KPIs."""
    slices: tuple[ObservedSlice, ...]
    """The slices, one per column of KPIs."""
    sla_throughput_mbps: Float[np.ndarray, "cell slice"]
    """Required throughput."""
    sla_delay_ms: Float[np.ndarray, "cell slice"]
    """Highest permitted delay."""
    neighbours: Int[np.ndarray, "cell neighbour"]
    """Rows of each cell's neighbours, most strongly coupled first; -1 fills short rows."""

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return len(self.slices)


Network = Scenario | ObservedNetwork
"""What KPIs are measured in."""


class DecisionView(NamedTuple):
    """What is known when the split of the next step is decided."""

    obs: Float32[np.ndarray, "cell obs"]
    """Observations after the last step."""
    kpis: StepKpis
    """KPIs of the last step."""
    simulator: Simulator
    """The simulator before the step: for policies that may know the step itself, like the oracle.

    Such policies cannot run on a real network.
    """
    reports: tuple[StepKpis, ...] = ()
    """KPIs of the last steps from the oldest to `kpis`, at most `MEMORY`; empty: `kpis` alone."""


@runtime_checkable
class Policy(Protocol):
    """Decides the splits of all cells."""

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        """Each slice's share of its cell's carrier: non-negative, with a sum of 1 per cell."""
        ...
