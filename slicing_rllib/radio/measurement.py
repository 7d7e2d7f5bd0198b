"""The KPIs of each slice from the SINR of its UEs."""

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.radio.interference import ActiveUes, LoadFixedPoint
from slicing_rllib.radio.kpis import StepKpis
from slicing_rllib.radio.link import Link
from slicing_rllib.radio.queueing import SERVED_SHARES, packet_delay_ms
from slicing_rllib.radio.scenario import Scenario

PerSlice = Float[np.ndarray, "cell slice"]
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
    link: Link,
    scenario: Scenario,
    phase: Int[np.ndarray, " cell"],
) -> StepKpis:
    """KPIs of one step.

    Args:
        received: the active UEs and their link gains.
        fixed_point: the solution of the step's load fixed point.
        share: each slice's share of its cell's PRBs, in [0, 1].
        rate_mbps: traffic that one active UE of each slice offers.
        packet_kbit: mean packet size of each slice.
        link: spectral efficiency at a SINR.
        scenario: gives the carrier's bandwidth and the cap on the delay.
        phase: the `Phase` of each cell.
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
    served = SERVED_SHARES[scenario.queue](share, required)
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
