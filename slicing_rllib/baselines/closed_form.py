"""The best split of a cell when interference stands still, in closed form."""

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio import Scenario, StepKpis
from slicing_rllib.radio.queueing import SATURATION

PerSlice = Float[np.ndarray, "cell slice"]


def needed_service(kpis: StepKpis, scenario: Scenario) -> PerSlice:
    """Served share m of the carrier at which a slice just meets both its requirements.

    phi = C F(a) and d = L H / F(a), with F(a) the share a less what its load takes (C: mean rate,
    H: mean inverse rate, L: packet). So phi >= phi* and d <= d* where F(a) >= max(phi*/C, L H/d*).
    Zero for a slice without UEs.
    """
    for_throughput = scenario.sla_throughput_mbps / kpis.mean_rate_mbps
    for_delay = kpis.packet_kbit * kpis.mean_inverse_rate / scenario.sla_delay_ms
    return np.where(kpis.users > 0, np.maximum(for_throughput, for_delay), 0.0)


def share_for(
    served: Float[np.ndarray, "*cell slice"], required: Float[np.ndarray, "*cell slice"]
) -> Float[np.ndarray, "*cell slice"]:
    """The smallest share that serves `served`: the inverse of `served_share`."""
    return np.where(
        served >= _EDGE * required, required + served, np.sqrt(served * required / _OVERLOAD)
    )


def max_min_split(required: PerSlice, needed: PerSlice) -> PerSlice:
    """The split whose worst slice fares best: largest tau <= 1 with sum of a_n(tau) <= 1.

    a_n(tau) is the share that lifts slice n to tau times what it needs. In x = sqrt(tau) the sum is
    a quadratic between breakpoints (where a slice turns stable), so tau is exact. What is left over
    when every slice is satisfied goes out in proportion; equally when nobody needs anything.
    """
    tau = _best_level(required, needed)
    share = share_for(tau[:, None] * needed, required)
    total = share.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.where(total > 0.0, share / total, 1.0 / share.shape[1])


def _best_level(required: PerSlice, needed: PerSlice) -> Float[np.ndarray, " cell"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        turns_stable = np.where(needed > 0.0, _EDGE * required / needed, 0.0)
    # total[k, j]: what cell k's slices need together at the level where slice j turns stable.
    served = turns_stable[:, :, None] * needed[:, None, :]
    total = share_for(served, np.broadcast_to(required[:, None, :], served.shape)).sum(axis=2)
    stable = total <= 1.0
    squared = np.where(stable, needed, 0.0).sum(axis=1)
    linear = np.where(stable, 0.0, np.sqrt(needed * required / _OVERLOAD)).sum(axis=1)
    left = 1.0 - np.where(stable, required, 0.0).sum(axis=1)
    root = linear + np.sqrt(linear**2 + 4.0 * squared * left)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(root > 0.0, np.minimum((2.0 * left / root) ** 2, 1.0), 1.0)


_EDGE = (1.0 - SATURATION) / SATURATION
"""Served share over required share at the saturation point."""
_OVERLOAD = SATURATION * (1.0 - SATURATION)
