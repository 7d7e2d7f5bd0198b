"""What a transfer was worth, and whether a distance rank_correlation it: pure functions of curves."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.integrate import trapezoid
from scipy.stats import spearmanr

Curve = Float[np.ndarray, " point"]


class Threshold(NamedTuple):
    """When a curve reached a level."""

    step: float
    """The last step of the curve where it never did."""
    censored: bool


def jumpstart(ours: Curve, theirs: Curve) -> float:
    """R_ours(0) - R_theirs(0), before any update. Source: Taylor & Stone 2009, sec. 2.2."""
    return float(ours[0] - theirs[0])


def area(steps: Sequence[float], rewards: Curve) -> float:
    """Mean reward over the steps of a curve: its area by trapezoids over its length."""
    length = steps[-1] - steps[0]
    return float(trapezoid(rewards, steps) / length)


def transfer_ratio(steps: Sequence[float], ours: Curve, theirs: Curve) -> float:
    """(area ours - area theirs) / area theirs. Source: Taylor & Stone 2009, sec. 2.2."""
    base = area(steps, theirs)
    return (area(steps, ours) - base) / base


def time_to_threshold(steps: Sequence[float], rewards: Curve, level: float) -> Threshold:
    """First step from which the curve does not fall below the level again."""
    below = np.flatnonzero(rewards < level)
    if not len(below):
        return Threshold(float(steps[0]), censored=False)
    if below[-1] == len(rewards) - 1:
        return Threshold(float(steps[-1]), censored=True)
    return Threshold(float(steps[below[-1] + 1]), censored=False)


def learning_regret(steps: Sequence[float], rewards: Curve, oracle: float) -> float:
    """What was missed while learning, in steps' worth of reward: sum of oracle less reward."""
    return float(trapezoid(oracle - rewards, steps))


def rank_correlation(
    distance: Float[np.ndarray, " source"], gain: Float[np.ndarray, " source"]
) -> float:
    """Spearman correlation of nearness with gain: 1 where nearer is always better.

    NaN where all distances, or all gains, are equal.
    """
    if np.ptp(distance) == 0 or np.ptp(gain) == 0:
        return float("nan")
    found: Any = spearmanr(-distance, gain)
    return float(found.statistic)


def selection_regret(
    distance: Float[np.ndarray, " source"], gain: Float[np.ndarray, " source"]
) -> float:
    """Best gain less that of the nearest source; ties among the nearest are averaged."""
    return float(gain.max() - chosen_gain(distance, gain))


def chosen_gain(
    distance: Float[np.ndarray, " source"], gain: Float[np.ndarray, " source"]
) -> float:
    """Gain of the nearest source, the mean of all where several are nearest."""
    return float(gain[np.isclose(distance, distance.min(), rtol=1e-9, atol=0.0)].mean())


def negative_transfer_rate(gain: Float[np.ndarray, " case"]) -> float:
    """P(gain < 0)."""
    return float(np.mean(gain < 0))
