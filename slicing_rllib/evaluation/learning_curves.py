"""What a learning curve says about a start: numbers of Taylor & Stone 2009, sec. 2.1, and costs.

A curve is R(t), the evaluation reward without exploration noise at rising steps t.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Curve = Float[np.ndarray, " point"]
Steps = Int[np.ndarray, " point"]


class TimeToThreshold(NamedTuple):
    """When curves first reach a reward, over seeds."""

    median_steps: float
    """Of all seeds, a censored one counting as later than any; inf where half are censored."""
    censored: float
    """Share of seeds that never got there."""


def jumpstart(transferred: Curve, scratch: Curve) -> float:
    """R_TL(0) - R_0(0), both before any update."""
    return float(transferred[0] - scratch[0])


def mean_over_steps(steps: Steps, reward: Curve) -> float:
    """Area under the curve by trapezoids, per step: the mean reward on the way."""
    return float(np.trapezoid(reward, steps) / (steps[-1] - steps[0]))


def transfer_ratio(steps: Steps, transferred: Curve, scratch: Curve) -> float:
    """(area with transfer - area without) / area without."""
    without = mean_over_steps(steps, scratch)
    return (mean_over_steps(steps, transferred) - without) / without


def asymptotic_difference(transferred: Curve, scratch: Curve, points: int) -> float:
    """Difference of the means over the last `points` points."""
    return float(transferred[-points:].mean() - scratch[-points:].mean())


def gain_at(steps: Steps, transferred: Curve, scratch: Curve, step: int) -> float:
    """Relative gain R_TL(t) / R_0(t) - 1 at equal steps: the paper's Fig. 8."""
    ours, theirs = (np.interp(step, steps, curve) for curve in (transferred, scratch))
    return float(ours / theirs - 1.0)


def learning_regret(steps: Steps, reward: Curve, oracle: float | Curve) -> float:
    """sum_t (R_oracle - R), by trapezoids."""
    return float(np.trapezoid(oracle - reward, steps))


def time_to_threshold(
    steps: Steps, rewards: Float[np.ndarray, "seed point"], threshold: float
) -> TimeToThreshold:
    """First step at which the reward is at least the threshold."""
    reached = rewards >= threshold
    first = np.where(reached.any(axis=1), steps[reached.argmax(axis=1)], np.inf)
    # The upper median: with an even count, half the seeds must have arrived.
    median = np.sort(first)[len(first) // 2]
    return TimeToThreshold(float(median), float(np.isinf(first).mean()))


def selection_regret(gain: Float[np.ndarray, " source"], chosen: int) -> float:
    """Best source's gain less the chosen one's."""
    return float(gain.max() - gain[chosen])


def negative_transfer_rate(gain: Float[np.ndarray, " transfer"]) -> float:
    """P(gain < 0)."""
    return float(np.mean(gain < 0.0))


def steps_saved(
    scratch_steps: float, transferred_steps: float, source_steps: float, targets: int
) -> float:
    """Steps that a target saves, less its part of what training the source took."""
    return scratch_steps - transferred_steps - source_steps / targets
