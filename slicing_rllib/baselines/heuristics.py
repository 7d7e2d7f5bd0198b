"""Baselines without search: equal shares, shares by demand, a constant split, and persistence."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from slicing_rllib.baselines.closed_form import needed_service
from slicing_rllib.env import DecisionView, max_min_split
from slicing_rllib.radio import Scenario

PerSlice = Float[np.ndarray, "cell slice"]


class Equal:
    """Equal shares."""

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        shape = view.kpis.prb_ratio.shape
        return np.full(shape, 1.0 / shape[1])


class TrafficAware:
    """Shares in proportion to the true demand of the step to be decided: the paper's baseline."""

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        return divide_in_proportion(view.simulator.demand_mbps)


@dataclass(frozen=True)
class SlaWeighted:
    """Shares in proportion to true demand * required throughput (phi*) of the SLA."""

    scenario: Scenario

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        return divide_in_proportion(view.simulator.demand_mbps * self.scenario.sla_throughput_mbps)


@dataclass(frozen=True)
class Persistence:
    """The closed-form optimum for the demand and rates of the last step."""

    scenario: Scenario

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        needed = needed_service(view.kpis, self.scenario)
        return max_min_split(view.kpis.required_share, needed)


@dataclass(frozen=True)
class Static:
    """A constant split per cell."""

    split: PerSlice
    """Shares of each cell's carrier, with a sum of 1 per cell."""

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        return self.split


def divide_in_proportion(weights: PerSlice) -> PerSlice:
    """Rows scaled to a sum of 1; equal shares where a row is all zero."""
    total = weights.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        scaled: PerSlice = weights / total
    return np.where(total > 0.0, scaled, 1.0 / weights.shape[1])
