"""Gain of a sector antenna: a parabola in azimuth and one in elevation, each with a floor."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Angles = Float[np.ndarray, "*points"]


@dataclass(frozen=True, kw_only=True)
class SectorAntenna:
    """A three-sector antenna with a tilted main beam. Source: TR 36.814, table A.2.1.1-2."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    gain_dbi: float = 14.0
    horizontal_beamwidth_deg: float = 70.0
    front_to_back_db: float = 25.0
    vertical_beamwidth_deg: float = 10.0
    side_lobe_db: float = 20.0

    def __post_init__(self) -> None:
        for name in ("horizontal_beamwidth_deg", "vertical_beamwidth_deg"):
            if getattr(self, name) <= 0:
                raise ValueError(f"antenna: {name} must be positive, got {getattr(self, name)}")

    def gain_db(self, azimuth_deg: Angles, depression_deg: Angles, tilt_deg: float) -> Angles:
        """Gain towards an azimuth off boresight and an angle below the horizon."""
        turned = (azimuth_deg + 180.0) % 360.0 - 180.0
        horizontal = 12 * (turned / self.horizontal_beamwidth_deg) ** 2
        vertical = 12 * ((depression_deg - tilt_deg) / self.vertical_beamwidth_deg) ** 2
        loss = np.minimum(horizontal, self.front_to_back_db) + np.minimum(
            vertical, self.side_lobe_db
        )
        return self.gain_dbi - np.minimum(loss, self.front_to_back_db)


@dataclass(frozen=True, kw_only=True)
class ColumnAntenna:
    """A column of 3D elements, one transceiver, phased to a zenith angle of 90 deg plus tilt.

    Source: TR 36.873, table 7.1-1 (element) and equation 7.1-2 (column of elements).
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    elements: int = 10
    gain_dbi: float = 8.0
    beamwidth_deg: float = 65.0
    floor_db: float = 30.0
    spacing_wavelengths: float = 0.5

    def __post_init__(self) -> None:
        if self.elements < 1:
            raise ValueError(f"antenna: elements must be at least 1, got {self.elements}")

    def gain_db(self, azimuth_deg: Angles, depression_deg: Angles, tilt_deg: float) -> Angles:
        """Gain towards an azimuth off boresight and an angle below the horizon."""
        turned = (azimuth_deg + 180.0) % 360.0 - 180.0
        horizontal = np.minimum(12 * (turned / self.beamwidth_deg) ** 2, self.floor_db)
        vertical = np.minimum(12 * (depression_deg / self.beamwidth_deg) ** 2, self.floor_db)
        element_db = self.gain_dbi - np.minimum(horizontal + vertical, self.floor_db)
        return element_db + self._array_db(depression_deg, tilt_deg)

    def _array_db(self, depression_deg: Angles, tilt_deg: float) -> Angles:
        """|sum_m e^(2 pi i m s (sin depression - sin tilt))|^2 / M, kept above -100 dB."""
        if self.elements == 1:
            return np.zeros_like(depression_deg)
        turn = np.sin(np.radians(depression_deg)) - np.sin(np.radians(tilt_deg))
        step_rad = 2 * np.pi * self.spacing_wavelengths * turn
        members = np.arange(self.elements)
        field = np.exp(1j * members * step_rad[..., None]).sum(axis=-1)
        return 10 * np.log10(np.maximum(np.abs(field) ** 2 / self.elements, 1e-10))
