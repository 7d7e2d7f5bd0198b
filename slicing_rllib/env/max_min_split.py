"""The split whose worst-served slice fares best, in closed form, for fixed interference."""

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio import SATURATION

PerSlice = Float[np.ndarray, "cell slice"]

_EDGE = (1.0 - SATURATION) / SATURATION
"""Served share over required share at the saturation point."""
_OVERLOAD = SATURATION * (1.0 - SATURATION)


def invert_served_share(
    served: Float[np.ndarray, "*cell slice"], required: Float[np.ndarray, "*cell slice"]
) -> Float[np.ndarray, "*cell slice"]:
    """The smallest share that serves `served`: the inverse of `radio.queueing.served_share`."""
    return np.where(
        served >= _EDGE * required, required + served, np.sqrt(served * required / _OVERLOAD)
    )


def max_min_split(required: PerSlice, needed: PerSlice) -> PerSlice:
    """Largest level tau <= 1 that all slices can reach together, as a split of each carrier.

    `required` is the share S that the offered traffic takes, `needed` the served share m at which a
    slice is satisfied; a_n(tau) is the share that lifts slice n to tau m_n. In x = sqrt(tau) the
    sum of all a_n is a quadratic between breakpoints (where a slice becomes stable), so tau is
    exact. What is left over when every slice is satisfied is handed out in proportion; the split is
    equal where nobody needs anything.
    """
    tau = _find_best_level(required, needed)
    share = invert_served_share(tau[:, None] * needed, required)
    total = share.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.where(total > 0.0, share / total, 1.0 / share.shape[1])


def _find_best_level(required: PerSlice, needed: PerSlice) -> Float[np.ndarray, " cell"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        stable_from = np.where(needed > 0.0, _EDGE * required / needed, 0.0)
    # total[k, j]: the share that all slices of cell k need at the level where slice j gets stable.
    served = stable_from[:, :, None] * needed[:, None, :]
    total = invert_served_share(served, np.broadcast_to(required[:, None, :], served.shape))
    stable = total.sum(axis=2) <= 1.0
    squared = np.where(stable, needed, 0.0).sum(axis=1)
    linear = np.where(stable, 0.0, np.sqrt(needed * required / _OVERLOAD)).sum(axis=1)
    left = 1.0 - np.where(stable, required, 0.0).sum(axis=1)
    root = linear + np.sqrt(linear**2 + 4.0 * squared * left)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(root > 0.0, np.minimum((2.0 * left / root) ** 2, 1.0), 1.0)
