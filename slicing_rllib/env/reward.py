"""How well a cell serves its slices: the reward of eq. (2) and the satisfaction of Fig. 5."""

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
    """Worst slice's min(phi / phi*, d* / d, 1), in [0, 1].

    A slice without delay (nobody waits in it) meets any delay requirement. Leading axes broadcast.
    Source: the paper, eq. (2).
    """
    served = throughput_mbps / sla_throughput_mbps
    with np.errstate(divide="ignore"):
        prompt = sla_delay_ms / delay_ms
    return np.asarray(np.minimum(np.minimum(served, prompt).min(axis=-1), 1.0))


def satisfaction(throughput_mbps: PerSlice, sla_throughput_mbps: PerSlice) -> PerCell:
    """Worst slice's min(phi / phi*, 1): throughput alone, as Fig. 5 of the paper counts it."""
    return np.asarray(np.minimum((throughput_mbps / sla_throughput_mbps).min(axis=-1), 1.0))
