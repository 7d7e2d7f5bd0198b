"""Simple rules that an actor can correct: splits that follow from what a cell measured.

None of them learns, and each reads only what an operator's counters give. A rule that smooths reads
the cell's last `MEMORY` reports; a cell that has just come up has its first report in place of the
older ones. A rule reads reports from the oldest to the newest.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass

from slicing_rllib.env.measurement import Measured, stack_reports
from slicing_rllib.env.rewards import max_min_split
from slicing_rllib.radio.settings import SETTINGS, Share

PerSlice = Float[np.ndarray, "cell slice"]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Smoothing:
    """What `smoothed_persistence` makes of the last reports."""

    weight: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Weight of the newest report; each older one has (1 - weight) times the weight of the next,
    and the oldest one the rest. 1 leaves the newest alone."""
    hedge: Share = 0.1
    """Part of the carrier that is divided equally, against needs that nobody expected."""


def divide_in_proportion(weights: PerSlice) -> PerSlice:
    """Rows scaled to a sum of 1; equal shares where a row is all zero."""
    total = weights.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        scaled: PerSlice = weights / total
    return np.where(total > 0.0, scaled, 1.0 / weights.shape[1])


def smooth(newest_first: Float[np.ndarray, "report cell slice"], weight: float) -> PerSlice:
    """The exponential average of reports, begun with the oldest of them."""
    weights = weight * (1.0 - weight) ** np.arange(len(newest_first))
    weights[-1] = (1.0 - weight) ** (len(newest_first) - 1)
    return np.tensordot(weights, newest_first, axes=1)


def split_smoothed(reports: Sequence[Measured], smoothing: Smoothing) -> PerSlice:
    """`smoothed_persistence`: the best split for smoothed offered and needed shares, hedged."""
    offered, needed = (
        smooth(stack_reports(reports, lambda report, name=name: getattr(report, name)),
               smoothing.weight)
        for name in ("offered", "needed")
    )  # fmt: skip
    equal = 1.0 / offered.shape[1]
    return (1.0 - smoothing.hedge) * max_min_split(offered, needed) + smoothing.hedge * equal


def split_by_last(reports: Sequence[Measured], _: Smoothing) -> PerSlice:
    """`persistence`: the split that was best in the last step."""
    return max_min_split(reports[-1].offered, reports[-1].needed)


def split_by_load(reports: Sequence[Measured], _: Smoothing) -> PerSlice:
    """`load_proportional`: in proportion to the carrier that the last offered traffic takes."""
    return divide_in_proportion(reports[-1].offered)
