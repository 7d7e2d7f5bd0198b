"""Sites far away from all others, most often a wrong or missing coordinate."""

import numpy as np
from jaxtyping import Bool, Float

LEAST_DISTANCE_M = 20_000.0
"""A site nearer to the middle of the network than this is never an outlier."""
TIMES_TYPICAL = 8.0
"""An outlier is so many times as far from the middle as the site half-way in order of distance."""


def find_outliers(positions_m: Float[np.ndarray, "site 2"]) -> Bool[np.ndarray, " site"]:
    """Which sites are too far away to belong to the network.

    The middle is the median of the positions, which outliers do not move. Fewer than four sites
    have no outliers.
    """
    if len(positions_m) < 4:
        return np.zeros(len(positions_m), bool)
    distance_m = np.linalg.norm(positions_m - np.median(positions_m, axis=0), axis=1)
    limit_m = max(LEAST_DISTANCE_M, TIMES_TYPICAL * float(np.median(distance_m)))
    return distance_m > limit_m
