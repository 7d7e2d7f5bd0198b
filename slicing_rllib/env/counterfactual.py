"""What one step's measurements say about every split that could have been applied in that step.

A step's KPIs contain more than the reward of the split that was applied. Per slice they give the
share S of the carrier that the offered traffic takes, and the served share m that just meets both
requirements. With interference held as it was, these two give the reward of any other split:

    r(a') = min over slices of min(F(a'_n) / m_n, 1),   F = `radio.queueing.served_share`.

S and m of all slices, 2 N numbers per transition, are the *feedback* that the replay buffer keeps.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped

from slicing_rllib.radio import SATURATION
from slicing_rllib.radio.queueing import served_share

PerSlice = Float[np.ndarray, "*cells slice"]
Feedback = Float[np.ndarray, "*rows feedback"]
Action = Float[np.ndarray, "*rows action"]

SMALLEST_SHARE = 1e-6
"""Needed or offered shares below this count as none."""


def offered_share(demand_mbps: PerSlice, mean_inverse_rate: PerSlice) -> PerSlice:
    """S: share of the carrier that the offered traffic takes.

    `demand_mbps` is the slice's offered traffic in Mbit/s, `mean_inverse_rate` the mean over its
    UEs of one over the rate on the whole carrier in s/Mbit, as CQI or MCS reports give it. Below
    saturation S is also the slice's measured load.
    """
    return demand_mbps * mean_inverse_rate


def needed_share(
    prb_ratio: PerSlice,
    offered: PerSlice,
    throughput_mbps: PerSlice,
    delay_ms: PerSlice,
    sla_throughput_mbps: Float[np.ndarray, "*#cells slice"],
    sla_delay_ms: Float[np.ndarray, "*#cells slice"],
) -> PerSlice:
    """m = F(a) max(phi* / phi, d / d*): the served share that just meets both requirements.

    Throughput is proportional to the served share F and delay to its inverse, so what was measured
    at the applied share `prb_ratio` says which F would be enough. Zero where nothing is offered;
    one, the whole carrier, where nothing was served and so nothing can be said.
    """
    served = served_share(prb_ratio, offered)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.maximum(sla_throughput_mbps / throughput_mbps, delay_ms / sla_delay_ms)
        needed = np.where(served > 0.0, served * ratio, 1.0)
    return np.where(offered > 0.0, needed, 0.0)


@runtime_checkable
class CounterfactualReward(Protocol):
    """The reward of any action in a step that has been measured, and how it changes with it."""

    def reward(self, feedback: Feedback, action: Action) -> Float[np.ndarray, "*rows"]:
        """Reward that `action` would have earned in the step that `feedback` was measured in."""
        ...

    def reward_and_gradient(
        self, feedback: Feedback, action: Action
    ) -> tuple[Float[np.ndarray, "*rows"], Action]:
        """`reward`, and its derivative with respect to `action`."""
        ...


class SplitReward:
    """The counterfactual reward of a split of the carrier; feedback is [S, m] of all slices."""

    def reward(self, feedback: Feedback, action: Action) -> Float[np.ndarray, "*rows"]:
        """min over slices of min(F(a_n) / m_n, 1); 1 where no slice needs anything."""
        offered, needed = _split_feedback(feedback)
        return np.asarray(np.minimum(_service_levels(offered, needed, action).min(axis=-1), 1.0))

    def reward_and_gradient(
        self, feedback: Feedback, action: Action
    ) -> tuple[Float[np.ndarray, "*rows"], Action]:
        """The gradient is F'(a_n) / m_n for the worst slice n, 0 for others and where r = 1."""
        offered, needed = _split_feedback(feedback)
        levels = _service_levels(offered, needed, action)
        worst = levels.argmin(axis=-1)[..., None]
        share, required, need, level = (
            np.take_along_axis(array, worst, axis=-1) for array in (action, offered, needed, levels)
        )
        stable = required <= SATURATION * share
        overload_slope = (
            2.0 * SATURATION * (1.0 - SATURATION) * share / np.maximum(required, SMALLEST_SHARE)
        )
        slope = np.where(stable, 1.0, overload_slope) / np.maximum(need, SMALLEST_SHARE)
        gradient = np.zeros_like(action)
        np.put_along_axis(gradient, worst, np.where(level < 1.0, slope, 0.0), axis=-1)
        return np.asarray(np.minimum(level[..., 0], 1.0)), gradient


class NumericalGradient:
    """Adds a gradient by central differences to a reward that has none."""

    def __init__(self, reward: "RewardOfAction", step: float = 1e-3) -> None:
        """`step` is how far each component of the action is moved either way."""
        self._reward, self._step = reward, step

    def reward(self, feedback: Feedback, action: Action) -> Float[np.ndarray, "*rows"]:
        """That of the wrapped reward."""
        return self._reward.reward(feedback, action)

    def reward_and_gradient(
        self, feedback: Feedback, action: Action
    ) -> tuple[Float[np.ndarray, "*rows"], Action]:
        """The gradient is (r(a + h e_n) - r(a - h e_n)) / 2h for each component n."""
        columns: list[np.ndarray] = []
        for index in range(action.shape[-1]):
            shift = np.zeros(action.shape[-1], action.dtype)
            shift[index] = self._step
            above = self._reward.reward(feedback, action + shift)
            below = self._reward.reward(feedback, action - shift)
            columns.append((above - below) / (2.0 * self._step))
        gradient = np.stack(columns, axis=-1).astype(action.dtype)
        return self._reward.reward(feedback, action), gradient


@runtime_checkable
class RewardOfAction(Protocol):
    """A counterfactual reward without a gradient."""

    def reward(self, feedback: Feedback, action: Action) -> Shaped[np.ndarray, "*rows"]:
        """As in `CounterfactualReward`."""
        ...


def _split_feedback(feedback: Feedback) -> tuple[np.ndarray, np.ndarray]:
    n_slices = feedback.shape[-1] // 2
    return feedback[..., :n_slices], feedback[..., n_slices:]


def _service_levels(offered: PerSlice, needed: PerSlice, share: PerSlice) -> PerSlice:
    """F(a_n) / m_n; infinite for slices that need nothing."""
    served = served_share(share, offered)
    return np.where(needed > SMALLEST_SHARE, served / np.maximum(needed, SMALLEST_SHARE), np.inf)
