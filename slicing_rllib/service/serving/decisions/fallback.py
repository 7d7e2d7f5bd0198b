"""Shares for cells whose policy cannot or must not answer."""

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from slicing_rllib.baselines.heuristics import divide_in_proportion
from slicing_rllib.env import max_min_split
from slicing_rllib.env.counterfactual import needed_share, offered_share
from slicing_rllib.policies.kpi_schema import BASE_POLICY_KPIS
from slicing_rllib.service.serving.decisions.request import KPI_NAMES


class Reason(StrEnum):
    """Why a policy does not answer."""

    UNKNOWN_CELL = "unknown_cell"
    """No policy is for this cell."""
    STALE_KPIS = "stale_kpis"
    """The cell's KPIs are too old, or from the future."""
    MISSING_NEIGHBOURS = "missing_neighbours"
    """A neighbour that the message needs has reported nothing."""
    STALE_NEIGHBOURS = "stale_neighbours"
    """A neighbour's last report is too old."""
    OUTSIDE_TRAINING = "outside_training"
    """A KPI is far outside of what was recorded where the policy was trained."""
    SLA_NOT_OBSERVED = "sla_not_observed"
    """The SLA is another than in training, and the policy cannot see it."""
    POLICY_FAILED = "policy_failed"
    """The policy's answer is not finite."""


class Method(StrEnum):
    """What answers instead."""

    BASE_POLICY = "base_policy"
    """The split that was best in the last interval."""
    TRAFFIC_PROPORTIONAL = "traffic_proportional"
    """Shares in proportion to offered traffic, or else to load."""
    EQUAL = "equal"
    """Equal shares."""


class Substitute(NamedTuple):
    """Shares of one cell and where they come from."""

    shares: Float[np.ndarray, " slice"]
    method: Method


def substitute(
    table: Float[np.ndarray, "slice kpi"],
    sla_throughput_mbps: Float[np.ndarray, " slice"] | None = None,
    sla_delay_ms: Float[np.ndarray, " slice"] | None = None,
) -> Substitute:
    """The best shares that the KPIs of a cell allow without its policy.

    Args:
        table: the cell's KPIs; NaN for those that are not there.
        sla_throughput_mbps: required throughput; None for a cell without SLA.
        sla_delay_ms: highest permitted delay; None for a cell without SLA.
    """
    kpis = {name: table[:, column] for column, name in enumerate(KPI_NAMES)}
    if sla_throughput_mbps is not None and sla_delay_ms is not None:
        shares = _split_by_base_policy(kpis, sla_throughput_mbps, sla_delay_ms)
        if np.isfinite(shares).all():
            return Substitute(shares, Method.BASE_POLICY)
    for name in ("demand_mbps", "load"):
        if np.isfinite(kpis[name]).all() and kpis[name].sum() > 0.0:
            shares = divide_in_proportion(kpis[name][None])[0]
            return Substitute(shares, Method.TRAFFIC_PROPORTIONAL)
    return Substitute(np.full(len(table), 1.0 / len(table)), Method.EQUAL)


def _split_by_base_policy(
    kpis: dict[str, np.ndarray], sla_throughput_mbps: np.ndarray, sla_delay_ms: np.ndarray
) -> Float[np.ndarray, " slice"]:
    """NaN where a KPI is missing or the model has no answer, as for a throughput of zero."""
    throughput, delay, share, demand, inverse = (kpis[name] for name in BASE_POLICY_KPIS)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        offered = offered_share(demand, inverse)
        needed = needed_share(share, offered, throughput, delay, sla_throughput_mbps, sla_delay_ms)
        shares = max_min_split(offered[None], needed[None])[0]
    known = np.isfinite(offered).all() and np.isfinite(needed).all()
    return shares if known else np.full(len(share), np.nan)
