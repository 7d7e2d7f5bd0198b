"""Path loss of WINNER+ C2 and B1, line-of-sight probability and thermal noise.

Distances are three-dimensional and in metres unless a name says otherwise.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

SPEED_OF_LIGHT_M_PER_S = 2.99792458e8
THERMAL_NOISE_DBM_PER_HZ = -174.0

Distances = Float[np.ndarray, "*points"]
Metres = float | Distances


def noise_power_dbm(bandwidth_hz: float, noise_figure_db: float) -> float:
    """Thermal noise power in a bandwidth, including the receiver's noise figure."""
    return float(THERMAL_NOISE_DBM_PER_HZ + 10 * np.log10(bandwidth_hz) + noise_figure_db)


def breakpoint_distance_m(
    bs_height_m: float, ue_height_m: Metres, carrier_hz: float, environment_height_m: Metres = 1.0
) -> Metres:
    """Distance beyond which the ground reflection makes the line-of-sight loss steeper.

    4 h'_BS h'_UE f / c, where h' is a height above `environment_height_m`.
    """
    heights = (bs_height_m - environment_height_m) * (ue_height_m - environment_height_m)
    return 4 * heights * carrier_hz / SPEED_OF_LIGHT_M_PER_S


@dataclass(frozen=True, kw_only=True)
class WinnerPlus:
    """A WINNER+ path-loss model: two slopes with line of sight, one without.

    The near formula applies below the breakpoint distance, the far formula beyond it.
    Source: WINNER+ D5.3, table 4-1.
    """

    near_slope: float
    """Near formula: dB per decade of distance."""
    near_offset_db: float
    """Near formula: loss at 1 m and 1 GHz."""
    near_carrier_slope: float
    """Near formula: dB per decade of carrier frequency."""
    far_offset_db: float
    """Far formula: loss at 1 m and 1 GHz for heights of 1 m above the environment height."""
    far_height_slope: float
    """Far formula: dB per decade of either height above the environment height."""
    far_carrier_slope: float
    """Far formula: dB per decade of carrier frequency."""

    def los_db(
        self,
        distance_m: Distances,
        *,
        bs_height_m: float,
        ue_height_m: Metres,
        carrier_hz: float,
        environment_height_m: Metres = 1.0,
    ) -> Distances:
        """Path loss with line of sight."""
        carrier_ghz = carrier_hz / 1e9
        log_d = np.log10(distance_m)
        near: Distances = (
            self.near_slope * log_d
            + self.near_offset_db
            + self.near_carrier_slope * np.log10(carrier_ghz)
        )
        heights = (bs_height_m - environment_height_m) * (ue_height_m - environment_height_m)
        far: Distances = (
            40 * log_d
            + self.far_offset_db
            - self.far_height_slope * np.log10(heights)
            + self.far_carrier_slope * np.log10(carrier_ghz)
        )
        corner_m = breakpoint_distance_m(bs_height_m, ue_height_m, carrier_hz, environment_height_m)
        is_near: Bool[np.ndarray, "*points"] = distance_m < corner_m
        return np.where(is_near, near, far)

    def nlos_db(
        self,
        distance_m: Distances,
        *,
        bs_height_m: float,
        ue_height_m: Metres,
        carrier_hz: float,
        environment_height_m: Metres = 1.0,
    ) -> Distances:
        """Path loss without line of sight, for carriers from 2 GHz.

        It does not depend on the heights of the UE and of the environment.
        """
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
    """P_LOS = min(18/d, 1) (1 - e^(-d/D)) + e^(-d/D), for d `horizontal_m` and D `decay_m`.

    Source: TR 36.814, table B.1.2.1-1.
    """
    decay = np.exp(-horizontal_m / decay_m)
    return np.minimum(18 / np.maximum(horizontal_m, 18), 1) * (1 - decay) + decay
