"""The served share that a slice needs, from what only the simulator knows of its UEs."""

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio import Scenario, StepKpis

PerSlice = Float[np.ndarray, "cell slice"]


def needed_service(kpis: StepKpis, scenario: Scenario) -> PerSlice:
    """Served share of the carrier at which a slice just meets its throughput and its delay SLA.

    With F the served share, C the mean rate, H the mean inverse rate and L the packet size,
    phi = C F and d = L H / F. Thus phi >= phi* and d <= d* if F >= max(phi* / C, L H / d*).
    It is 0 for a slice without UEs.
    """
    for_throughput = scenario.sla_throughput_mbps / kpis.mean_rate_mbps
    for_delay = kpis.packet_kbit * kpis.mean_inverse_rate / scenario.sla_delay_ms
    return np.where(kpis.users > 0, np.maximum(for_throughput, for_delay), 0.0)
