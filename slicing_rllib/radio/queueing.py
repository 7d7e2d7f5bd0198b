"""Throughput and delay of a slice whose UEs share its PRBs: M/G/1 processor sharing.

Mean values do not depend on the distribution of packet sizes. Salo & Zacarias, IJCNC 9(6), 2017,
compare the model with counters of live LTE networks.
"""

import numpy as np
from jaxtyping import Float

SATURATION = 0.98
"""Utilisation above which the overload formula replaces that of the stationary queue."""
TINY = 1e-30
"""Replaces 0 in denominators."""

PerSlice = Float[np.ndarray, "cell slice"]


def served_share(
    share: Float[np.ndarray, "*rows slice"], required: Float[np.ndarray, "*rows slice"]
) -> Float[np.ndarray, "*rows slice"]:
    """a g(S/a): the share of the carrier at which a newly arrived packet is served.

    `share` is a, the slice's share of the carrier; `required` is S, the share that its offered
    traffic occupies. g(rho) is 1 - rho up to `SATURATION` and 0.0196 / rho above. It is continuous,
    and the result increases with a even where the stationary queue has no solution.
    """
    overloaded = SATURATION * (1.0 - SATURATION) * share**2 / np.maximum(required, TINY)
    return np.where(required <= SATURATION * share, share - required, overloaded)


def served_share_fifo(
    share: Float[np.ndarray, "*rows slice"], required: Float[np.ndarray, "*rows slice"]
) -> Float[np.ndarray, "*rows slice"]:
    """As `served_share`, for packets of one size that wait in one queue, first in, first out.

    The mean sojourn time of an M/D/1 queue gives g(rho) = 2 (1 - rho) / (2 - rho) up to
    `SATURATION`; above, g falls as 1 / rho. Source: Pollaczek-Khinchine formula.
    """
    rho = required / np.maximum(share, TINY)
    stable = 2.0 * (share - required) / np.maximum(2.0 - rho, 1.0)
    at_saturation = 2.0 * (1.0 - SATURATION) / (2.0 - SATURATION)
    overloaded = at_saturation * SATURATION * share**2 / np.maximum(required, TINY)
    return np.where(required <= SATURATION * share, stable, overloaded)


SERVED_SHARES = {"processor_sharing": served_share, "fifo": served_share_fifo}
"""Served share by name of the queueing law."""


def packet_delay_ms(
    packet_kbit: PerSlice, mean_inverse_rate: PerSlice, served: PerSlice, cap_ms: float
) -> PerSlice:
    """L H / (a g): mean sojourn time of a packet, at most `cap_ms`; 0 for a slice without UEs.

    `mean_inverse_rate` is in s/Mbit; `served` is the result of `served_share`.
    """
    return np.minimum(packet_kbit * mean_inverse_rate / np.maximum(served, TINY), cap_ms)
