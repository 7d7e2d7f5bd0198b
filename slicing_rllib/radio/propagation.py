"""Path loss of WINNER+ C2 and B1, line-of-sight probability and thermal noise.

Distances are three-dimensional and in metres unless a name says otherwise.

Path loss of 3GPP TR 38.901 (5G) and TR 36.873 (3D channel model).

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


@dataclass(frozen=True, kw_only=True)
class DualSlopeLos:
    """Line-of-sight loss that changes to 40 dB per decade at the breakpoint distance.

    Source: TR 38.901, table 7.4.1-1.
    """

    slope: float
    """dB per decade of distance below the breakpoint."""
    offset_db: float
    """Loss at 1 m and 1 GHz."""
    corner_slope: float
    """dB per decade of d_BP^2 + (h_BS - h_UE)^2, which joins the two formulas at the breakpoint."""

    def los_db(
        self,
        distance_m: Distances,
        *,
        bs_height_m: float,
        ue_height_m: Metres,
        carrier_hz: float,
        environment_height_m: Metres = 1.0,
    ) -> Distances:
        """Path loss with line of sight; the breakpoint is a horizontal distance."""
        log_d = np.log10(distance_m)
        corner_m = breakpoint_distance_m(bs_height_m, ue_height_m, carrier_hz, environment_height_m)
        drop_m = bs_height_m - np.asarray(ue_height_m)
        carrier_db = 20 * np.log10(carrier_hz / 1e9)
        near: Distances = self.slope * log_d + self.offset_db + carrier_db
        corner_db = self.corner_slope * np.log10(corner_m**2 + drop_m**2)
        far: Distances = 40 * log_d + self.offset_db + carrier_db - corner_db
        is_near: Bool[np.ndarray, "*points"] = distance_m**2 - drop_m**2 < corner_m**2
        return np.where(is_near, near, far)


@dataclass(frozen=True, kw_only=True)
class Tr38901(DualSlopeLos):
    """UMa or UMi: one slope without line of sight. Source: TR 38.901, table 7.4.1-1."""

    nlos_slope: float
    """dB per decade of distance without line of sight."""
    nlos_offset_db: float
    """Loss without line of sight at 1 m and 1 GHz, for a UE height of 1.5 m."""
    nlos_carrier_slope: float
    """dB per decade of carrier frequency without line of sight."""
    ue_height_slope: float
    """Reduction of the loss without line of sight, dB per metre of UE height above 1.5 m."""

    def nlos_db(
        self,
        distance_m: Distances,
        *,
        bs_height_m: float,
        ue_height_m: Metres,
        carrier_hz: float,
        environment_height_m: Metres = 1.0,
    ) -> Distances:
        """Path loss without line of sight, at least that with it."""
        los_db = self.los_db(
            distance_m,
            bs_height_m=bs_height_m,
            ue_height_m=ue_height_m,
            carrier_hz=carrier_hz,
            environment_height_m=environment_height_m,
        )
        nlos_db = (
            self.nlos_slope * np.log10(distance_m)
            + self.nlos_offset_db
            + self.nlos_carrier_slope * np.log10(carrier_hz / 1e9)
            - self.ue_height_slope * (np.asarray(ue_height_m) - 1.5)
        )
        return np.maximum(los_db, nlos_db)


@dataclass(frozen=True, kw_only=True)
class Tr36873Uma(DualSlopeLos):
    """3D-UMa: without line of sight, the loss depends on streets and buildings.

    Source: TR 36.873, table 7.2-1.
    """

    street_width_m: float = 20.0
    """Mean width of the streets."""
    building_height_m: float = 20.0
    """Mean height of the buildings."""

    def nlos_db(
        self,
        distance_m: Distances,
        *,
        bs_height_m: float,
        ue_height_m: Metres,
        carrier_hz: float,
        environment_height_m: Metres = 1.0,
    ) -> Distances:
        """Path loss without line of sight, at least that with it."""
        los_db = self.los_db(
            distance_m,
            bs_height_m=bs_height_m,
            ue_height_m=ue_height_m,
            carrier_hz=carrier_hz,
            environment_height_m=environment_height_m,
        )
        log_bs, roof_m = np.log10(bs_height_m), self.building_height_m
        town_db = (
            161.04
            - 7.1 * np.log10(self.street_width_m)
            + 7.5 * np.log10(roof_m)
            - (24.37 - 3.7 * (roof_m / bs_height_m) ** 2) * log_bs
        )
        slope_db = (43.42 - 3.1 * log_bs) * (np.log10(distance_m) - 3)
        carrier_db = 20 * np.log10(carrier_hz / 1e9) - (3.2 * np.log10(17.625) ** 2 - 4.97)
        height_db = 0.6 * (np.asarray(ue_height_m) - 1.5)
        return np.maximum(los_db, town_db + slope_db + carrier_db - height_db)


UMA_38901 = Tr38901(
    slope=22,
    offset_db=28,
    corner_slope=9,
    nlos_slope=39.08,
    nlos_offset_db=13.54,
    nlos_carrier_slope=20,
    ue_height_slope=0.6,
)
UMI_38901 = Tr38901(
    slope=21,
    offset_db=32.4,
    corner_slope=9.5,
    nlos_slope=35.3,
    nlos_offset_db=22.4,
    nlos_carrier_slope=21.3,
    ue_height_slope=0.3,
)
UMA_36873 = Tr36873Uma(slope=22, offset_db=28, corner_slope=9)
UMI_36873 = Tr38901(
    slope=22,
    offset_db=28,
    corner_slope=9,
    nlos_slope=36.7,
    nlos_offset_db=22.7,
    nlos_carrier_slope=26,
    ue_height_slope=0.3,
)
