"""From SINR to spectral efficiency: truncated Shannon, or the CQI table."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

PerUe = Float[np.ndarray, " ue"]

SHANNON_SHARE = 0.6
SHANNON_FLOOR_DB = -10.0
SHANNON_CAP = 4.4

CQI_TABLE = np.array(
    [
        (-6.91, 0.1523),
        (-5.13, 0.2344),
        (-3.14, 0.3770),
        (-1.22, 0.6016),
        (0.74, 0.8770),
        (2.61, 1.1758),
        (4.62, 1.4766),
        (6.50, 1.9141),
        (8.42, 2.4063),
        (10.41, 2.7305),
        (12.23, 3.3223),
        (14.11, 3.9023),
        (15.90, 4.5234),
        (17.75, 5.1152),
        (19.66, 5.5547),
    ]
)
"""SINR in dB at which a CQI meets 10 % block errors, and its bits per resource element.

Source of the latter: TS 36.213, table 7.2.3-1.
"""
CQI_THRESHOLDS = 10 ** (CQI_TABLE[:, 0] / 10)
CQI_BITS_PER_RE = CQI_TABLE[:, 1]
RE_PER_PRB_HZ = 168e3 / 180e3
"""Resource elements per second over hertz: 12 subcarriers x 14 symbols per ms in 180 kHz."""
CQI_OVERHEAD = 0.25
"""Share of resource elements that control channels and reference signals take."""


@runtime_checkable
class Link(Protocol):
    """Bit/s per Hz of bandwidth at a linear SINR.

    `continuous` is what the interference fixed point iterates on: never zero, and growing more
    slowly than SINR does, which makes the fixed point unique. `reported` is what UEs get.
    """

    peak: float

    def continuous(self, sinr: PerUe) -> PerUe: ...

    def reported(self, sinr: PerUe) -> PerUe: ...


class ShannonLink:
    """0.6 log2(1 + SINR) up to 4.4 bit/s/Hz; overhead is inside. Source: TR 36.942, Annex A.

    The annex gives up below -10 dB; here such a UE keeps the rate of -10 dB, so that a UE in a
    hole makes its slice slow, not infinitely loaded.
    """

    peak = SHANNON_CAP
    _floor = SHANNON_SHARE * float(np.log2(1 + 10 ** (SHANNON_FLOOR_DB / 10)))

    def continuous(self, sinr: PerUe) -> PerUe:
        efficiency = np.log2(1.0 + sinr)
        efficiency *= SHANNON_SHARE
        np.minimum(efficiency, SHANNON_CAP, out=efficiency)
        return np.maximum(efficiency, self._floor, out=efficiency)

    def reported(self, sinr: PerUe) -> PerUe:
        return self.continuous(sinr)


class CqiLink:
    """The highest CQI whose threshold the SINR meets; CQI 1 for UEs below all of them.

    The steps of the table would break the fixed point's guarantee; it iterates on the truncated
    Shannon curve, and rates are quantised after.
    """

    peak = float(CQI_BITS_PER_RE[-1]) * RE_PER_PRB_HZ * (1 - CQI_OVERHEAD)
    continuous = ShannonLink.continuous
    _floor = ShannonLink._floor

    def reported(self, sinr: PerUe) -> PerUe:
        cqi = np.maximum(np.searchsorted(CQI_THRESHOLDS, sinr, side="right") - 1, 0)
        return CQI_BITS_PER_RE[cqi] * (RE_PER_PRB_HZ * (1 - CQI_OVERHEAD))


LINKS: dict[str, Link] = {"shannon": ShannonLink(), "cqi": CqiLink()}
