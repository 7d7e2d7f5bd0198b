"""The KPIs of each slice of a cell in one slicing interval, from the SINR of its UEs.

The UEs of a slice share its PRBs: M/G/1 processor sharing, whose mean values do not depend on the
distribution of packet sizes. Salo & Zacarias, IJCNC 9(6), 2017, compare the model with counters of
live LTE networks.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.radio.interference import ActiveUes, LoadFixedPoint
from slicing_rllib.radio.link import ShannonLink
from slicing_rllib.radio.scenario import Scenario
from slicing_rllib.registry import get_part

PerSlice = Float[np.ndarray, "cell slice"]


class Phase(IntEnum):
    """What determines the split of a cell's carrier."""

    OFF = 0
    """The cell is off the air: it does not transmit and serves no UEs."""
    DEFAULT = 1
    """The default action: equal shares, whatever split is passed to `Simulator.step`."""
    CONTROLLED = 2
    """The split that is passed to `Simulator.step`."""


class StepKpis(NamedTuple):
    """KPIs of one step, per cell and slice.

    Slices are M/G/1 processor-sharing queues. With a slice's share a, required share S, mean rate
    C, mean inverse rate H and packet size L, its throughput is C a g(S/a) and its delay is
    L H / (a g(S/a)), at most the scenario's `delay_cap_ms`. g(rho) is 1 - rho up to 0.98 and
    0.0196 / rho above.

    A slice without active UEs meets its SLA: its throughput is the carrier's peak rate and its
    delay is 0.
    """

    throughput_mbps: PerSlice
    """Throughput of an active UE while it is served, mean over UEs."""
    delay_ms: PerSlice
    """Queueing delay and air time of a packet, mean over active UEs, without the core network."""
    load: PerSlice
    """Share of the carrier's PRBs that the slice uses, in [0, 1]."""
    utilisation: PerSlice
    """Share of the slice's own PRBs that it uses, in [0, 1]."""
    users: PerSlice
    """Number of active UEs."""
    prb_ratio: PerSlice
    """Share of the carrier's PRBs that the slice was given, in [0, 1]."""
    demand_mbps: PerSlice
    """Offered traffic."""
    required_share: PerSlice
    """S: share of the carrier that the offered traffic occupies at the UEs' current rates."""
    mean_rate_mbps: PerSlice
    """C: rate of a UE on the whole carrier, mean over active UEs."""
    mean_inverse_rate: PerSlice
    """H: inverse of that rate, mean over active UEs, s/Mbit."""
    packet_kbit: PerSlice
    """L: mean packet size."""
    sinr_db_p10: PerSlice
    """10th percentile of the active UEs' SINR."""
    sinr_db_p50: PerSlice
    """Median of the active UEs' SINR."""
    sinr_db_p90: PerSlice
    """90th percentile of the active UEs' SINR."""
    phase: Int[np.ndarray, " cell"]
    """The cell's `Phase` in this step."""


SATURATION = 0.98
"""Utilisation above which the overload formula replaces that of the stationary queue."""
TINY = 1e-30
"""Replaces 0 in denominators."""


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


def packet_delay_ms(
    packet_kbit: PerSlice, mean_inverse_rate: PerSlice, served: PerSlice, cap_ms: float
) -> PerSlice:
    """L H / (a g): mean sojourn time of a packet, at most `cap_ms`; 0 for a slice without UEs.

    `mean_inverse_rate` is in s/Mbit; `served` is the result of `served_share`.
    """
    return np.minimum(packet_kbit * mean_inverse_rate / np.maximum(served, TINY), cap_ms)


QUANTILES = np.array([[0.1], [0.5], [0.9]])
SINR_WITHOUT_UES = 1.0
"""Linear SINR that a slice without active UEs reports: 0 dB."""
SINR_LIMIT = 2.0**20
"""Twice the largest linear SINR that percentiles distinguish."""


def compute_kpis(
    received: ActiveUes,
    fixed_point: LoadFixedPoint,
    share: PerSlice,
    rate_mbps: Float[np.ndarray, " slice"],
    packet_kbit: Float[np.ndarray, " slice"],
    link: ShannonLink,
    scenario: Scenario,
    phase: Int[np.ndarray, " cell"],
) -> StepKpis:
    """KPIs of one step.

    `share` is each slice's share of its cell's PRBs; `rate_mbps` is what one active UE offers.
    """
    bandwidth_mhz = scenario.radio.bandwidth_hz / 1e6
    ue_mbps = bandwidth_mhz * link.reported_efficiency(fixed_point.sinr)
    users = received.users
    at_least_one = np.maximum(users, 1.0)
    has_users = users > 0
    sum_mbps = np.bincount(received.key, ue_mbps, share.size).reshape(share.shape)
    sum_inverse = np.bincount(received.key, 1.0 / ue_mbps, share.size).reshape(share.shape)
    mean_mbps = np.where(has_users, sum_mbps / at_least_one, bandwidth_mhz * link.peak)
    mean_inverse = sum_inverse / at_least_one
    required = rate_mbps * sum_inverse
    served = get_part("queue", scenario.queue)(share, required)
    packets_kbit = np.broadcast_to(packet_kbit, share.shape)
    utilisation = fixed_point.utilisation
    percentiles = sinr_percentiles_db(received.key, fixed_point.sinr, users)
    return StepKpis(
        throughput_mbps=np.where(has_users, mean_mbps * served, mean_mbps),
        delay_ms=packet_delay_ms(packets_kbit, mean_inverse, served, scenario.delay_cap_ms),
        load=share * utilisation,
        utilisation=utilisation,
        users=users,
        prb_ratio=share,
        demand_mbps=users * rate_mbps,
        required_share=required,
        mean_rate_mbps=mean_mbps,
        mean_inverse_rate=mean_inverse,
        packet_kbit=packets_kbit,
        sinr_db_p10=percentiles[0],
        sinr_db_p50=percentiles[1],
        sinr_db_p90=percentiles[2],
        phase=phase,
    )


def sinr_percentiles_db(
    key: Int[np.ndarray, " ue"], sinr: Float[np.ndarray, " ue"], users: PerSlice
) -> Float[np.ndarray, "quantile cell slice"]:
    """Nearest-rank percentiles of the SINR of each slice in each cell.

    A slice without UEs reports `SINR_WITHOUT_UES`. Each slice gets an offset larger than any SINR,
    so that one sort orders the UEs of all slices.
    """
    if not len(key):
        return np.zeros((len(QUANTILES), *users.shape))
    count = users.ravel()
    offset = np.arange(len(count)) * SINR_LIMIT
    ordered = np.sort(offset.take(key) + np.minimum(sinr, 0.5 * SINR_LIMIT))
    rank = (QUANTILES * np.maximum(count - 1.0, 0.0) + 0.5).astype(np.int64)
    rank += (np.cumsum(count) - count).astype(np.int64)
    values = ordered.take(rank, mode="clip") - offset
    values_db = 10 * np.log10(np.where(count > 0, values, SINR_WITHOUT_UES))
    return values_db.reshape(len(QUANTILES), *users.shape)
