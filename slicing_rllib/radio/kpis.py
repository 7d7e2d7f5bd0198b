"""What a cell measures about its slices in one slicing interval."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

PerSlice = Float[np.ndarray, "cell slice"]


class Phase(IntEnum):
    """Who divides a cell's carrier."""

    OFF = 0
    """Nobody: the cell transmits nothing and serves nobody."""
    DEFAULT = 1
    """Equal shares, whatever is asked for."""
    CONTROLLED = 2
    """Whoever calls `step`."""


class StepKpis(NamedTuple):
    """KPIs of one step, per cell and slice.

    With a the share, S `required_share`, g(rho) = 1 - rho up to 0.98 and 0.0196 / rho beyond:
    throughput is C a g(S/a), delay is L H / (a g(S/a)) up to the scenario's cap, for the slice's
    mean rate C, mean inverse rate H and packet L. Source: M/G/1 processor sharing.

    A slice without active UEs is satisfied: its throughput is the carrier's peak rate, its delay 0.
    """

    throughput_mbps: PerSlice
    """Mean over active UEs of what each sees while it is served."""
    delay_ms: PerSlice
    """Queueing and air time of a packet, mean over active UEs; no core network in it."""
    load: PerSlice
    """Share of the carrier's PRBs in use."""
    utilisation: PerSlice
    """Share of the slice's own PRBs in use."""
    users: PerSlice
    """Active UEs."""
    prb_ratio: PerSlice
    """Share of the carrier's PRBs, as applied."""
    demand_mbps: PerSlice
    """Offered traffic."""
    required_share: PerSlice
    """S: share of the carrier that the offered traffic takes at the UEs' present rates."""
    mean_rate_mbps: PerSlice
    """C: mean over UEs of the rate on the whole carrier."""
    mean_inverse_rate: PerSlice
    """H: mean over UEs of one over that rate, s/Mbit."""
    packet_kbit: PerSlice
    sinr_db_p10: PerSlice
    sinr_db_p50: PerSlice
    sinr_db_p90: PerSlice
    phase: Int[np.ndarray, " cell"]
