"""The served share that a slice needs, from what only the simulator knows of its UEs."""

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio import Scenario, StepKpis

PerSlice = Float[np.ndarray, "cell slice"]
OUT_OF_REACH = 1e3
"""A served share that no split of one carrier can give."""


def needed_service(kpis: StepKpis, scenario: Scenario) -> PerSlice:
    """Served share of the carrier at which a slice just meets its throughput and its delay SLA.

    With F the served share, C the mean rate, H the mean inverse rate and L the packet size,
    phi = C F and d = L H / F. Thus phi >= phi* and d <= d* if F >= max(phi* / C, L H / d*).
    It is 0 for a slice without UEs.
    """
    for_delay = _service_for_one_ms(kpis) / scenario.sla_delay_ms
    return np.maximum(needed_service_for_throughput(kpis, scenario), for_delay)


def needed_service_for_throughput(kpis: StepKpis, scenario: Scenario) -> PerSlice:
    """As `needed_service`, for the throughput SLA alone."""
    needed = scenario.sla_throughput_mbps / kpis.mean_rate_mbps
    return np.where(kpis.users > 0, needed, 0.0)


def needed_service_for_equal_delay(kpis: StepKpis) -> PerSlice:
    """Served shares, up to a common factor, at which all slices of a cell have the same delay.

    The largest is `OUT_OF_REACH`, so that no cell can serve all its slices like this and
    `max_min_split` never stops at a level that is good enough.
    """
    needed = _service_for_one_ms(kpis)
    largest = needed.max(axis=1, keepdims=True)
    return OUT_OF_REACH * needed / np.where(largest > 0.0, largest, 1.0)


def _service_for_one_ms(kpis: StepKpis) -> PerSlice:
    return np.where(kpis.users > 0, kpis.packet_kbit * kpis.mean_inverse_rate, 0.0)
