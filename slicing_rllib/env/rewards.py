"""What a split of the carrier earns: the paper's reward, that of any other split, the best split.

A step's KPIs contain more than the reward of the split that was applied. Per slice they give the
share S of the carrier that the offered traffic takes, and the served share m that just meets both
requirements. With interference held as it was, these two give the reward of any other split:

    r(a') = min over slices of min(F(a'_n) / m_n, 1),   F = `radio.kpis.served_share`.

S and m of all slices, 2 N numbers per transition, are the *counterfactual inputs* that the replay
buffer keeps. They also give the best split in closed form.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio import SATURATION, Scenario, StepKpis
from slicing_rllib.radio.kpis import served_share

BroadcastPerSlice = Float[np.ndarray, "*#cell slice"]
PerCell = Float[np.ndarray, "*cells"]


def slice_reward(
    throughput_mbps: BroadcastPerSlice,
    delay_ms: BroadcastPerSlice,
    sla_throughput_mbps: BroadcastPerSlice,
    sla_delay_ms: BroadcastPerSlice,
) -> PerCell:
    """Minimum over slices of min(phi / phi*, d* / d, 1), in [0, 1].

    phi and d are a slice's throughput and delay; phi* and d* are those of its SLA. A delay of 0
    (no active UEs) meets every SLA. Leading axes are broadcast.
    Source: the paper, eq. (2).
    """
    throughput_ratio = throughput_mbps / sla_throughput_mbps
    with np.errstate(divide="ignore"):
        delay_ratio = sla_delay_ms / delay_ms
    return np.asarray(np.minimum(np.minimum(throughput_ratio, delay_ratio).min(axis=-1), 1.0))


def paper_reward(kpis: StepKpis, network: Scenario) -> PerCell:
    """Eq. (2) of a step, for the SLAs of a network: the reward `paper`."""
    return slice_reward(
        kpis.throughput_mbps, kpis.delay_ms, network.sla_throughput_mbps, network.sla_delay_ms
    )


def satisfaction(
    throughput_mbps: BroadcastPerSlice, sla_throughput_mbps: BroadcastPerSlice
) -> PerCell:
    """Minimum over slices of min(phi / phi*, 1), in [0, 1]. Source: the paper, Fig. 5."""
    return np.asarray(np.minimum((throughput_mbps / sla_throughput_mbps).min(axis=-1), 1.0))


PerSlice = Float[np.ndarray, "*cells slice"]
CounterfactualInputs = Float[np.ndarray, "*rows input"]
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
        needed = np.where((served > 0.0) & np.isfinite(ratio), served * ratio, 1.0)
    return np.where(offered > 0.0, needed, 0.0)


@runtime_checkable
class CounterfactualReward(Protocol):
    """The reward of any action in a step that has been measured, and how it changes with it."""

    def reward(self, inputs: CounterfactualInputs, action: Action) -> Float[np.ndarray, "*rows"]:
        """Reward that `action` would have earned in the step that `inputs` was measured in."""
        ...

    def reward_and_gradient(
        self, inputs: CounterfactualInputs, action: Action
    ) -> tuple[Float[np.ndarray, "*rows"], Action]:
        """`reward`, and its derivative with respect to `action`."""
        ...


class SplitReward:
    """The counterfactual reward of a split of the carrier; its inputs are [S, m] of all slices."""

    def reward(self, inputs: CounterfactualInputs, action: Action) -> Float[np.ndarray, "*rows"]:
        """min over slices of min(F(a_n) / m_n, 1); 1 where no slice needs anything."""
        offered, needed = np.split(inputs, 2, axis=-1)
        return np.asarray(np.minimum(_service_levels(offered, needed, action).min(axis=-1), 1.0))

    def reward_and_gradient(
        self, inputs: CounterfactualInputs, action: Action
    ) -> tuple[Float[np.ndarray, "*rows"], Action]:
        """The gradient is F'(a_n) / m_n for the worst slice n, 0 for others and where r = 1."""
        offered, needed = np.split(inputs, 2, axis=-1)
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
    """A counterfactual reward whose gradient is computed by central differences."""

    def __init__(
        self,
        reward: Callable[[CounterfactualInputs, Action], Float[np.ndarray, "*rows"]],
        step: float = 1e-3,
    ) -> None:
        """`step` is how far each component of the action is moved either way."""
        self.reward, self._step = reward, step

    def reward_and_gradient(
        self, inputs: CounterfactualInputs, action: Action
    ) -> tuple[Float[np.ndarray, "*rows"], Action]:
        """The gradient is (r(a + h e_n) - r(a - h e_n)) / 2h for each component n."""
        components: list[np.ndarray] = []
        for shift in self._step * np.eye(action.shape[-1], dtype=action.dtype):
            above, below = self.reward(inputs, action + shift), self.reward(inputs, action - shift)
            components.append((above - below) / (2.0 * self._step))
        gradient = np.stack(components, axis=-1).astype(action.dtype)
        return self.reward(inputs, action), gradient


def _service_levels(offered: PerSlice, needed: PerSlice, share: PerSlice) -> PerSlice:
    """F(a_n) / m_n; infinite for slices that need nothing."""
    served = served_share(share, offered)
    return np.where(needed > SMALLEST_SHARE, served / np.maximum(needed, SMALLEST_SHARE), np.inf)


PerCellSlice = Float[np.ndarray, "cell slice"]

EDGE = (1.0 - SATURATION) / SATURATION
"""Served share over required share at saturation: above it, a slice is stable."""
OVERLOAD = SATURATION * (1.0 - SATURATION)
"""Served share * required share / share^2 in overload."""


def invert_served_share(
    served: Float[np.ndarray, "*cell slice"], required: Float[np.ndarray, "*cell slice"]
) -> Float[np.ndarray, "*cell slice"]:
    """The smallest share of the carrier whose served share is `served`.

    It is the inverse of `radio.kpis.served_share`. `required` is the share of the carrier that
    the offered traffic occupies.
    """
    return np.where(
        served >= EDGE * required, required + served, np.sqrt(served * required / OVERLOAD)
    )


def max_min_split(required: PerCellSlice, needed: PerCellSlice) -> PerCellSlice:
    """The split that maximises the minimum over slices of served share / needed share.

    Args:
        required: share of the carrier that the offered traffic occupies.
        needed: served share at which a slice meets its SLA.

    The level tau of a cell is the largest tau <= 1 at which sum_n a_n(tau) <= 1, where a_n(tau) is
    the share at which slice n has a served share of tau * needed. Between the levels at which a
    slice becomes stable, the sum is a quadratic in sqrt(tau), so tau is exact. If all slices meet
    their SLA, the rest of the carrier is divided in proportion; without any need, equally.
    """
    tau = _find_highest_level(required, needed)
    share = invert_served_share(tau[:, None] * needed, required)
    total = share.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        scaled: PerCellSlice = share / total
    return np.where(total > 0.0, scaled, 1.0 / share.shape[1])


def _find_highest_level(required: PerCellSlice, needed: PerCellSlice) -> Float[np.ndarray, " cell"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        stable_level = np.where(needed > 0.0, EDGE * required / needed, 0.0)
    # total[k, j]: sum of the shares of cell k at the level at which its slice j becomes stable.
    served = stable_level[:, :, None] * needed[:, None, :]
    total = invert_served_share(served, np.broadcast_to(required[:, None, :], served.shape)).sum(
        axis=2
    )
    is_stable = total <= 1.0
    squared = np.where(is_stable, needed, 0.0).sum(axis=1)
    linear = np.where(is_stable, 0.0, np.sqrt(needed * required / OVERLOAD)).sum(axis=1)
    remaining = 1.0 - np.where(is_stable, required, 0.0).sum(axis=1)
    root = linear + np.sqrt(linear**2 + 4.0 * squared * remaining)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(root > 0.0, np.minimum((2.0 * remaining / root) ** 2, 1.0), 1.0)
