"""From the UEs' SINR to a slice's KPIs."""

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.radio.coupling import Received, Settled
from slicing_rllib.radio.kpis import StepKpis
from slicing_rllib.radio.link import Link
from slicing_rllib.radio.queueing import packet_delay_ms, served_share
from slicing_rllib.radio.scenario import Scenario

PerSlice = Float[np.ndarray, "cell slice"]
QUANTILES = np.array([0.1, 0.5, 0.9])
NO_UE_DB = 0.0
"""SINR reported by a slice without UEs."""


def measured(
    received: Received,
    settled: Settled,
    share: PerSlice,
    rate_mbps: Float[np.ndarray, " slice"],
    packet_kbit: Float[np.ndarray, " slice"],
    link: Link,
    scenario: Scenario,
    phase: Int[np.ndarray, " cell"],
) -> StepKpis:
    """KPIs of a slot whose interference has settled."""
    radio_mhz = scenario.radio.bandwidth_hz / 1e6
    ue_mbps = radio_mhz * link.reported(settled.sinr)
    users, sum_mbps, sum_inverse = group_sums(received.key, ue_mbps, share.shape)
    some = users > 0
    at_least_one = np.maximum(users, 1.0)
    mean_mbps = np.where(some, sum_mbps / at_least_one, radio_mhz * link.peak)
    mean_inverse = sum_inverse / at_least_one
    required = rate_mbps * sum_inverse
    served = served_share(share, required)
    packets_kbit = np.broadcast_to(packet_kbit, share.shape)
    utilisation = settled.utilisation
    percentiles = group_percentiles(received.key, 10 * np.log10(settled.sinr), users)
    return StepKpis(
        throughput_mbps=np.where(some, mean_mbps * served, mean_mbps),
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


def group_sums(
    key: Int[np.ndarray, " ue"], ue_mbps: Float[np.ndarray, " ue"], shape: tuple[int, int]
) -> tuple[PerSlice, PerSlice, PerSlice]:
    """UEs, sum of their rates and sum of one over their rates, per cell and slice."""
    size = shape[0] * shape[1]
    users = np.bincount(key, minlength=size).astype(np.float64)
    sum_mbps = np.bincount(key, ue_mbps, size)
    sum_inverse = np.bincount(key, 1.0 / ue_mbps, size)
    return users.reshape(shape), sum_mbps.reshape(shape), sum_inverse.reshape(shape)


def group_percentiles(
    key: Int[np.ndarray, " ue"], value: Float[np.ndarray, " ue"], users: PerSlice
) -> Float[np.ndarray, "quantile cell slice"]:
    """Nearest-rank percentiles within each cell's slice, `NO_UE_DB` where there is nobody.

    One sort for all groups: values are moved apart by more than their range, group by group.
    """
    if not len(key):
        return np.full((len(QUANTILES), *users.shape), NO_UE_DB)
    lowest = value.min()
    apart = value.max() - lowest + 1.0
    ordered = np.sort(key * apart + (value - lowest))
    count = users.ravel()
    last = np.cumsum(count) - 1
    rank = np.floor(QUANTILES[:, None] * (np.maximum(count, 1.0) - 1.0) + 0.5)
    chosen = (last - count + 1 + rank).astype(np.int64)
    found = ordered[np.minimum(chosen, len(ordered) - 1)] - np.arange(len(count)) * apart + lowest
    return np.where(count > 0, found, NO_UE_DB).reshape(len(QUANTILES), *users.shape)
