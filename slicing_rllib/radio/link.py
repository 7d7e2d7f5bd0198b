"""Link abstraction: spectral efficiency at a SINR, by truncated Shannon or by the CQI table."""

import numpy as np
from jaxtyping import Float

PerUe = Float[np.ndarray, " ue"]

SHANNON_FACTOR = 0.6
"""Implementation loss: share of the Shannon capacity that a link reaches."""
SHANNON_FLOOR_DB = -10.0
"""SINR below which the efficiency falls no further."""
SHANNON_CAP = 4.4
"""Highest efficiency, bit/s/Hz."""

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
"""Per CQI: the SINR in dB at which its block error rate is 10 %, and bits per resource element.

Source of the bits per resource element: TS 36.213, table 7.2.3-1.
"""
CQI_THRESHOLDS = 10 ** (CQI_TABLE[:, 0] / 10)
CQI_BITS_PER_RE = CQI_TABLE[:, 1]
RE_PER_PRB_HZ = 168e3 / 180e3
"""Resource elements per second and hertz: 12 subcarriers x 14 symbols per ms in 180 kHz."""
CQI_OVERHEAD = 0.25
"""Share of resource elements that control channels and reference signals occupy."""


class ShannonLink:
    """Spectral efficiency in bit/s/Hz at a linear SINR, overhead included.

    0.6 log2(1 + SINR), at most 4.4 bit/s/Hz. Source: TR 36.942, Annex A.

    In the annex the efficiency is 0 below -10 dB. Here it stays at its value for -10 dB, so that a
    UE in a coverage hole slows its slice down instead of giving it infinite load.
    """

    peak = SHANNON_CAP
    """Highest efficiency."""
    _floor = SHANNON_FACTOR * float(np.log2(1 + 10 ** (SHANNON_FLOOR_DB / 10)))

    def continuous_efficiency(self, sinr: PerUe) -> PerUe:
        """The efficiency that the load fixed point iterates on.

        It is positive and grows more slowly than the SINR, which makes the fixed point unique.
        """
        efficiency = np.log2(1.0 + sinr)
        efficiency *= SHANNON_FACTOR
        np.minimum(efficiency, SHANNON_CAP, out=efficiency)
        return np.maximum(efficiency, self._floor, out=efficiency)

    def reported_efficiency(self, sinr: PerUe) -> PerUe:
        """The efficiency that KPIs report."""
        return self.continuous_efficiency(sinr)


class CqiLink(ShannonLink):
    """The efficiency of the highest CQI whose threshold the SINR reaches, at least that of CQI 1.

    The fixed point iterates on the truncated Shannon curve, because a step function would lose the
    guarantee of a unique solution. Only the reported efficiencies are quantised.
    """

    peak = float(CQI_BITS_PER_RE[-1]) * RE_PER_PRB_HZ * (1 - CQI_OVERHEAD)

    def reported_efficiency(self, sinr: PerUe) -> PerUe:
        cqi = np.maximum(np.searchsorted(CQI_THRESHOLDS, sinr, side="right") - 1, 0)
        return CQI_BITS_PER_RE[cqi] * (RE_PER_PRB_HZ * (1 - CQI_OVERHEAD))


LINKS: dict[str, ShannonLink] = {"shannon": ShannonLink(), "cqi": CqiLink()}
