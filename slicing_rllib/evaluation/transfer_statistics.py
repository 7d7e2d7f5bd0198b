"""Whether distances between cells predict which source helps a target."""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import spearmanr

PerSource = Float[np.ndarray, " source"]


def rank_correlation(distance: PerSource, gain: PerSource) -> float:
    """Spearman correlation of nearness with gain: 1 where a nearer source always gains more.

    NaN where all distances, or all gains, are equal.
    """
    if np.ptp(distance) == 0 or np.ptp(gain) == 0:
        return float("nan")
    found: Any = spearmanr(-distance, gain)
    return float(found.statistic)


def chosen_gain(distance: PerSource, gain: PerSource) -> float:
    """Gain of the nearest source; the mean of all nearest sources where several tie."""
    return float(gain[np.isclose(distance, distance.min(), rtol=1e-9, atol=0.0)].mean())


def selection_regret(distance: PerSource, gain: PerSource) -> float:
    """Largest gain - `chosen_gain`: what choosing the nearest source loses."""
    return float(gain.max() - chosen_gain(distance, gain))


def negative_transfer_rate(gain: Float[np.ndarray, " case"]) -> float:
    """Share of cases in which transfer does harm: P(gain < 0)."""
    return float(np.mean(gain < 0))
