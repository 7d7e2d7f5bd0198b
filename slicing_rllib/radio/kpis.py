"""The KPIs that a cell measures for its slices in one slicing interval."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

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
