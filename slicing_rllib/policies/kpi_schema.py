"""The KPIs that policies read: names, units and limits, and which of them a policy needs."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio import Phase, StepKpis

PerSlice = Float[np.ndarray, "row slice"]


class KpiSpec(NamedTuple):
    """A KPI of one slice in one slicing interval."""

    unit: str
    """Unit of its values; "1" for numbers without a unit."""
    minimum: float
    """Smallest value that a cell can measure."""
    maximum: float
    """A larger value is a mistake of who measured it, such as one in another unit."""
    meaning: str
    """What is measured."""


KPI_SPECS = {
    "throughput_mbps": KpiSpec(
        "Mbit/s", 0.0, 1e5, "throughput of an active UE while it is served, mean over the UEs"
    ),
    "delay_ms": KpiSpec(
        "ms", 0.0, 1e5, "queueing delay and air time of a packet, mean over the active UEs"
    ),
    "load": KpiSpec("1", 0.0, 1.0, "share of the carrier's PRBs that the slice used"),
    "utilisation": KpiSpec("1", 0.0, 1.0, "share of the slice's own PRBs that it used"),
    "users": KpiSpec("1", 0.0, 1e5, "active UEs"),
    "prb_ratio": KpiSpec("1", 0.0, 1.0, "share of the carrier's PRBs that the slice was given"),
    "demand_mbps": KpiSpec("Mbit/s", 0.0, 1e5, "offered traffic"),
    "mean_inverse_rate": KpiSpec(
        "s/Mbit", 0.0, 1e3, "1 / rate of a UE on the whole carrier, mean over the active UEs"
    ),
    "sinr_db_p10": KpiSpec("dB", -60.0, 90.0, "10th percentile of the active UEs' SINR"),
    "sinr_db_p50": KpiSpec("dB", -60.0, 90.0, "median of the active UEs' SINR"),
    "sinr_db_p90": KpiSpec("dB", -60.0, 90.0, "90th percentile of the active UEs' SINR"),
}
"""By the name of the field of `StepKpis`."""
TOLERANCE = 1e-9
"""By so much a share may exceed its limits, which rounding can do."""

_PAPER = ("throughput_mbps", "load", "users")
BASE_POLICY_KPIS = ("throughput_mbps", "delay_ms", "prb_ratio", "demand_mbps", "mean_inverse_rate")
"""What the split that was best in the last interval follows from."""
REQUIRED_KPIS: Mapping[str, tuple[str, ...]] = {
    "paper": _PAPER,
    "widened": tuple(dict.fromkeys((*_PAPER, *BASE_POLICY_KPIS))),
    "per_slice": (
        *BASE_POLICY_KPIS,
        "utilisation",
        "users",
        "sinr_db_p10",
        "sinr_db_p50",
        "sinr_db_p90",
    ),
}
"""KPIs that each kind of observation is computed from."""


def make_step_kpis(columns: Mapping[str, PerSlice]) -> StepKpis:
    """KPIs of one row per cell; zeros for KPIs that nobody reads."""
    shape = next(iter(columns.values())).shape
    absent = np.zeros(shape)
    values = {name: columns.get(name, absent) for name in StepKpis._fields if name != "phase"}
    return StepKpis(**values, phase=np.full(shape[0], int(Phase.CONTROLLED)))
