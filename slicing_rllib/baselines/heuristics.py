"""Splits that need no learning: equal, by demand, the best fixed one, and persistence."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from slicing_rllib.baselines.closed_form import max_min_split, needed_service
from slicing_rllib.env import DecisionView
from slicing_rllib.radio import Scenario

PerSlice = Float[np.ndarray, "cell slice"]


class Equal:
    """Every slice the same share."""

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        shape = view.kpis.prb_ratio.shape
        return np.full(shape, 1.0 / shape[1])


class TrafficAware:
    """Shares in proportion to the true demand of the very step: the paper's baseline."""

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        return in_proportion(view.simulator.demand_mbps)


@dataclass(frozen=True)
class SlaWeighted:
    """Shares in proportion to true demand times the throughput that each UE is promised."""

    scenario: Scenario

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        return in_proportion(view.simulator.demand_mbps * self.scenario.sla_throughput_mbps)


@dataclass(frozen=True)
class Persistence:
    """The closed-form optimum for last step's demand and rates: what a model alone can do."""

    scenario: Scenario

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        needed = needed_service(view.kpis, self.scenario)
        return max_min_split(view.kpis.required_share, needed)


@dataclass(frozen=True)
class Static:
    """One split per cell, for good."""

    split: PerSlice

    def prb_ratio(self, view: DecisionView) -> PerSlice:
        return self.split


def in_proportion(weights: PerSlice) -> PerSlice:
    """Rows over their sum; equal shares where a row is all zero."""
    total = weights.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.where(total > 0.0, weights / total, 1.0 / weights.shape[1])
