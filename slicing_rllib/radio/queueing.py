"""Throughput and delay of a slice whose UEs share its PRBs: M/G/1 processor sharing.

Insensitive to the law of packet sizes; checked against live LTE counters by Salo & Zacarias,
IJCNC 9(6), 2017.
"""

import numpy as np
from jaxtyping import Float

SATURATION = 0.98
"""Utilisation beyond which the stationary formula gives way to the overload branch."""
_TINY = 1e-30
"""Instead of zero in a denominator whose numerator decides."""

PerSlice = Float[np.ndarray, "cell slice"]


def served_share(
    share: Float[np.ndarray, "*rows slice"], required: Float[np.ndarray, "*rows slice"]
) -> Float[np.ndarray, "*rows slice"]:
    """a g(S/a): the share that a newly arrived packet sees, given what the offered traffic takes.

    g(rho) = 1 - rho up to saturation; beyond, 0.0196 / rho, so that it is continuous, and stays
    monotone in a where the stationary queue has no answer.
    """
    overloaded = SATURATION * (1.0 - SATURATION) * share**2 / np.maximum(required, _TINY)
    return np.where(required <= SATURATION * share, share - required, overloaded)


def packet_delay_ms(
    packet_kbit: PerSlice, mean_inverse_rate: PerSlice, served: PerSlice, cap_ms: float
) -> PerSlice:
    """L H / (a g): mean time in system of a packet, at most the cap. Zero without UEs."""
    return np.minimum(packet_kbit * mean_inverse_rate / np.maximum(served, _TINY), cap_ms)
