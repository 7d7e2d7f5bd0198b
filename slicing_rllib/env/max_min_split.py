"""The best split of a cell at constant interference, in closed form."""

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio import SATURATION

PerSlice = Float[np.ndarray, "cell slice"]

EDGE = (1.0 - SATURATION) / SATURATION
"""Served share over required share at saturation: above it, a slice is stable."""
OVERLOAD = SATURATION * (1.0 - SATURATION)
"""Served share * required share / share^2 in overload."""


def invert_served_share(
    served: Float[np.ndarray, "*cell slice"], required: Float[np.ndarray, "*cell slice"]
) -> Float[np.ndarray, "*cell slice"]:
    """The smallest share of the carrier whose served share is `served`.

    It is the inverse of `radio.queueing.served_share`. `required` is the share of the carrier that
    the offered traffic occupies.
    """
    return np.where(
        served >= EDGE * required, required + served, np.sqrt(served * required / OVERLOAD)
    )


def max_min_split(required: PerSlice, needed: PerSlice) -> PerSlice:
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
        scaled: PerSlice = share / total
    return np.where(total > 0.0, scaled, 1.0 / share.shape[1])


def _find_highest_level(required: PerSlice, needed: PerSlice) -> Float[np.ndarray, " cell"]:
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
