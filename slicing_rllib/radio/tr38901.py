"""Path loss of 3GPP TR 38.901 (5G) and TR 36.873 (3D channel model).

Distances are three-dimensional and in metres unless a name says otherwise.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from slicing_rllib.radio.propagation import breakpoint_distance_m

Distances = Float[np.ndarray, "*points"]
Metres = float | Distances


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
