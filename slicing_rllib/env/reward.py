"""How well a cell serves its slices: the paper's reward and its satisfaction."""

import numpy as np
from jaxtyping import Float

PerSlice = Float[np.ndarray, "*#cell slice"]
PerCell = Float[np.ndarray, "*cells"]


def slice_reward(
    throughput_mbps: PerSlice,
    delay_ms: PerSlice,
    sla_throughput_mbps: PerSlice,
    sla_delay_ms: PerSlice,
) -> PerCell:
    """Minimum over slices of min(phi / phi*, d* / d, 1), in [0, 1].

    phi and d are a slice's throughput and delay; phi* and d* are those of its SLA. A delay of 0
    (no active UEs) meets every SLA. Leading axes are broadcast.
    Source: the paper, eq. (2).
    """
    throughput_ratio = throughput_mbps / sla_throughput_mbps
    with np.errstate(divide="ignore"):
        delay_ratio = sla_delay_ms / delay_ms
    return np.asarray(np.minimum(np.minimum(throughput_ratio, delay_ratio).min(axis=-1), 1.0))


def satisfaction(throughput_mbps: PerSlice, sla_throughput_mbps: PerSlice) -> PerCell:
    """Minimum over slices of min(phi / phi*, 1), in [0, 1]. Source: the paper, Fig. 5."""
    return np.asarray(np.minimum((throughput_mbps / sla_throughput_mbps).min(axis=-1), 1.0))
