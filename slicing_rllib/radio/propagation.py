"""Propagation: path loss, line of sight and shadowing, of WINNER+, TR 38.901 and TR 36.873.

Distances are three-dimensional and in metres unless a name says otherwise.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

SPEED_OF_LIGHT_M_PER_S = 2.99792458e8
THERMAL_NOISE_DBM_PER_HZ = -174.0

Values = Float[np.ndarray, "*points"]
Metres = float | Values


def noise_power_dbm(bandwidth_hz: float, noise_figure_db: float) -> float:
    """Thermal noise power in a bandwidth, including the receiver's noise figure."""
    return float(THERMAL_NOISE_DBM_PER_HZ + 10 * np.log10(bandwidth_hz) + noise_figure_db)


class RadioPath(NamedTuple):
    """What the path loss between a mast and UEs depends on, besides line of sight."""

    distance_m: Values
    bs_height_m: float
    ue_height_m: Metres
    carrier_hz: float
    environment_height_m: Metres = 1.0
    """Height of what reflects: traffic, or roofs."""

    @property
    def carrier_ghz(self) -> float:
        """Carrier frequency in the unit of the formulas."""
        return self.carrier_hz / 1e9

    @property
    def heights_m2(self) -> Metres:
        """h'_BS h'_UE: product of the heights above `environment_height_m`."""
        low_m = self.environment_height_m
        return (self.bs_height_m - low_m) * (self.ue_height_m - low_m)

    @property
    def breakpoint_m(self) -> Metres:
        """4 h'_BS h'_UE f / c: distance beyond which the loss with line of sight is steeper."""
        return 4 * self.heights_m2 * self.carrier_hz / SPEED_OF_LIGHT_M_PER_S


@dataclass(frozen=True, kw_only=True)
class WinnerPlus:
    """Path loss in dB: two slopes with line of sight (`los_db`), one without (`nlos_db`).

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

    def los_db(self, path: RadioPath) -> Values:
        log_d, log_f = np.log10(path.distance_m), np.log10(path.carrier_ghz)
        near: Values = (
            self.near_slope * log_d + self.near_offset_db + self.near_carrier_slope * log_f
        )
        far: Values = (
            40 * log_d
            + self.far_offset_db
            - self.far_height_slope * np.log10(path.heights_m2)
            + self.far_carrier_slope * log_f
        )
        return np.where(path.distance_m < path.breakpoint_m, near, far)

    def nlos_db(self, path: RadioPath) -> Values:
        """For carriers from 2 GHz. The UE's and the environment's heights have no effect."""
        log_bs = np.log10(path.bs_height_m)
        offset = 18.38 + 5.83 * log_bs + 23 * np.log10(path.carrier_ghz)
        return (44.9 - 6.55 * log_bs) * np.log10(path.distance_m) + offset


@dataclass(frozen=True, kw_only=True)
class DualSlopeLos:
    """Line-of-sight loss that changes to 40 dB per decade at the breakpoint distance.

    Source: TR 38.901, table 7.4.1-1.
    """

    slope: float = 22
    """dB per decade of distance below the breakpoint."""
    offset_db: float = 28
    """Loss at 1 m and 1 GHz."""
    corner_slope: float = 9
    """dB per decade of d_BP^2 + (h_BS - h_UE)^2, which joins the two formulas at the breakpoint."""

    def los_db(self, path: RadioPath) -> Values:
        """The breakpoint is a horizontal distance."""
        log_d, corner_m = np.log10(path.distance_m), path.breakpoint_m
        drop_m = path.bs_height_m - np.asarray(path.ue_height_m)
        carrier_db = 20 * np.log10(path.carrier_ghz)
        near: Values = self.slope * log_d + self.offset_db + carrier_db
        corner_db = self.corner_slope * np.log10(corner_m**2 + drop_m**2)
        far: Values = 40 * log_d + self.offset_db + carrier_db - corner_db
        is_near: Bool[np.ndarray, "*points"] = path.distance_m**2 - drop_m**2 < corner_m**2
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

    def nlos_db(self, path: RadioPath) -> Values:
        """At least the loss with line of sight."""
        nlos_db = (
            self.nlos_slope * np.log10(path.distance_m)
            + self.nlos_offset_db
            + self.nlos_carrier_slope * np.log10(path.carrier_ghz)
            - self.ue_height_slope * (np.asarray(path.ue_height_m) - 1.5)
        )
        return np.maximum(self.los_db(path), nlos_db)


@dataclass(frozen=True, kw_only=True)
class Tr36873Uma(DualSlopeLos):
    """3D-UMa: without line of sight, the loss depends on streets and buildings.

    Source: TR 36.873, table 7.2-1.
    """

    street_width_m: float = 20.0
    """Mean width of the streets."""
    building_height_m: float = 20.0
    """Mean height of the buildings."""

    def nlos_db(self, path: RadioPath) -> Values:
        """At least the loss with line of sight."""
        log_bs, roof_m = np.log10(path.bs_height_m), self.building_height_m
        town_db = (
            161.04
            - 7.1 * np.log10(self.street_width_m)
            + 7.5 * np.log10(roof_m)
            - (24.37 - 3.7 * (roof_m / path.bs_height_m) ** 2) * log_bs
        )
        slope_db = (43.42 - 3.1 * log_bs) * (np.log10(path.distance_m) - 3)
        carrier_db = 20 * np.log10(path.carrier_ghz) - (3.2 * np.log10(17.625) ** 2 - 4.97)
        height_db = 0.6 * (np.asarray(path.ue_height_m) - 1.5)
        return np.maximum(self.los_db(path), town_db + slope_db + carrier_db - height_db)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A path-loss model with the statistics of its line of sight and shadowing."""

    path_loss: WinnerPlus | Tr38901 | Tr36873Uma
    los_decay_m: float
    """Distance D over which the probability of line of sight decays."""
    los_sigmas_db: tuple[float, float]
    """Standard deviation of shadowing with line of sight, up to the breakpoint and beyond it."""
    nlos_sigma_db: float
    """Standard deviation of shadowing without line of sight."""
    los_correlation_m: float
    """Correlation distance of shadowing with line of sight, and of the line of sight itself."""
    nlos_correlation_m: float
    """Correlation distance of shadowing without line of sight."""
    indoor_sigma_db: float = 7.0
    """Standard deviation of shadowing for indoor UEs; only a static drop uses it."""
    has_tall_ue_los: bool = False
    """Whether UEs above 13 m have line of sight more often, as in TR 36.873's 3D-UMa."""

    def los_probability(self, horizontal_m: Values) -> Values:
        """P_LOS = min(18/d, 1) (1 - e^(-d/D)) + e^(-d/D) at street level, d horizontal distance.

        Source: TR 36.814, table B.1.2.1-1.
        """
        decay = np.exp(-horizontal_m / self.los_decay_m)
        return np.minimum(18 / np.maximum(horizontal_m, 18), 1) * (1 - decay) + decay

    def path_loss_db(self, los: Bool[np.ndarray, "*points"], path: RadioPath) -> Values:
        """Path loss of links with (`los`) and without line of sight."""
        return np.where(los, self.path_loss.los_db(path), self.path_loss.nlos_db(path))

    def shadowing_sigma_db(self, los: Bool[np.ndarray, "*points"], path: RadioPath) -> Values:
        """Standard deviation of shadowing outdoors."""
        is_near = path.distance_m < path.breakpoint_m
        los_db = np.where(is_near, *self.los_sigmas_db)
        return np.where(los, los_db, self.nlos_sigma_db).astype(np.float64)


TR38901_UMA = Environment(
    path_loss=Tr38901(
        nlos_slope=39.08, nlos_offset_db=13.54, nlos_carrier_slope=20, ue_height_slope=0.6
    ),
    los_decay_m=63,
    los_sigmas_db=(4, 4),
    nlos_sigma_db=6,
    los_correlation_m=37,
    nlos_correlation_m=50,
)
TR38901_UMI = Environment(
    path_loss=Tr38901(
        slope=21,
        offset_db=32.4,
        corner_slope=9.5,
        nlos_slope=35.3,
        nlos_offset_db=22.4,
        nlos_carrier_slope=21.3,
        ue_height_slope=0.3,
    ),
    los_decay_m=36,
    los_sigmas_db=(4, 4),
    nlos_sigma_db=7.82,
    los_correlation_m=10,
    nlos_correlation_m=13,
)
WINNER_C2 = Environment(
    path_loss=WinnerPlus(
        near_slope=26,
        near_offset_db=25,
        near_carrier_slope=20,
        far_offset_db=9.27,
        far_height_slope=14,
        far_carrier_slope=6,
    ),
    los_decay_m=63,
    los_sigmas_db=(4, 6),
    nlos_sigma_db=8,
    los_correlation_m=45,
    nlos_correlation_m=50,
)
WINNER_B1 = Environment(
    path_loss=WinnerPlus(
        near_slope=22.7,
        near_offset_db=27,
        near_carrier_slope=20,
        far_offset_db=7.56,
        far_height_slope=17.3,
        far_carrier_slope=2.7,
    ),
    los_decay_m=36,
    los_sigmas_db=(3, 3),
    nlos_sigma_db=4,
    los_correlation_m=14,
    nlos_correlation_m=12,
)
TR36873_UMA = replace(TR38901_UMA, path_loss=Tr36873Uma(), has_tall_ue_los=True)
TR36873_UMI = replace(
    TR38901_UMI,
    path_loss=Tr38901(
        nlos_slope=36.7, nlos_offset_db=22.7, nlos_carrier_slope=26, ue_height_slope=0.3
    ),
    los_sigmas_db=(3, 3),
    nlos_sigma_db=4,
)
"""Sources: WINNER+ D5.3; TR 38.901, tables 7.4.1-1, 7.4.2-1 and 7.5-6; TR 36.873, tables 7.2-1 and
7.3-6.
"""
