"""Path loss of WINNER+ C2 and B1, and line-of-sight probability, as plain functions of arrays.

Distances are 3D and in metres unless a name says otherwise, carriers in Hz, results in dB.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

SPEED_OF_LIGHT_M_PER_S = 2.99792458e8
THERMAL_NOISE_DBM_PER_HZ = -174.0

Distances = Float[np.ndarray, "*points"]
Metres = float | Distances


def noise_power_dbm(bandwidth_hz: float, noise_figure_db: float) -> float:
    """Thermal noise in a band, the receiver's noise figure included."""
    return float(THERMAL_NOISE_DBM_PER_HZ + 10 * np.log10(bandwidth_hz) + noise_figure_db)


def breakpoint_distance_m(
    bs_height_m: float, ue_height_m: Metres, carrier_hz: float, environment_height_m: Metres = 1.0
) -> Metres:
    """Distance beyond which the ground reflection steepens the line-of-sight loss."""
    heights = (bs_height_m - environment_height_m) * (ue_height_m - environment_height_m)
    return 4 * heights * carrier_hz / SPEED_OF_LIGHT_M_PER_S


@dataclass(frozen=True, kw_only=True)
class WinnerPlus:
    """A WINNER+ town: LOS of two slopes, NLOS of one. Source: WINNER+ D5.3, table 4-1."""

    near_slope: float
    near_offset_db: float
    near_carrier_slope: float
    far_offset_db: float
    far_height_slope: float
    far_carrier_slope: float

    def los_db(
        self, distance_m: Distances, *, bs_height_m: float, ue_height_m: Metres, carrier_hz: float
    ) -> Distances:
        """Loss with line of sight; 20 log f before the breakpoint, flatter in f beyond it."""
        carrier_ghz = carrier_hz / 1e9
        log_d = np.log10(distance_m)
        near = (
            self.near_slope * log_d
            + self.near_offset_db
            + self.near_carrier_slope * np.log10(carrier_ghz)
        )
        far = (
            40 * log_d
            + self.far_offset_db
            - self.far_height_slope * np.log10((bs_height_m - 1) * (ue_height_m - 1))
            + self.far_carrier_slope * np.log10(carrier_ghz)
        )
        corner = breakpoint_distance_m(bs_height_m, ue_height_m, carrier_hz)
        return np.where(distance_m < corner, near, far)

    def nlos_db(
        self, distance_m: Distances, *, bs_height_m: float, ue_height_m: Metres, carrier_hz: float
    ) -> Distances:
        """Loss without line of sight, for carriers from 2 GHz; independent of the UE's height."""
        log_bs = np.log10(bs_height_m)
        offset = 18.38 + 5.83 * log_bs + 23 * np.log10(carrier_hz / 1e9)
        return (44.9 - 6.55 * log_bs) * np.log10(distance_m) + offset


WINNER_C2 = WinnerPlus(
    near_slope=26,
    near_offset_db=25,
    near_carrier_slope=20,
    far_offset_db=9.27,
    far_height_slope=14,
    far_carrier_slope=6,
)
WINNER_B1 = WinnerPlus(
    near_slope=22.7,
    near_offset_db=27,
    near_carrier_slope=20,
    far_offset_db=7.56,
    far_height_slope=17.3,
    far_carrier_slope=2.7,
)


def los_probability(horizontal_m: Distances, decay_m: float) -> Distances:
    """P_LOS = min(18/d, 1)(1 - e^(-d/D)) + e^(-d/D). Source: TR 36.814, table B.1.2.1-1."""
    fade = np.exp(-horizontal_m / decay_m)
    return np.minimum(18 / np.maximum(horizontal_m, 18), 1) * (1 - fade) + fade
