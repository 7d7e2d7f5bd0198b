"""Antenna gain of a sector as a function of azimuth and elevation."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio.checks import FORBID_UNKNOWN

Angles = Float[np.ndarray, "*points"]


@dataclass(frozen=True, kw_only=True)
class SectorAntenna:
    """A sector antenna whose gain falls off parabolically in azimuth and in elevation.

    Raises: ValueError unless both beamwidths are positive.
    Source: TR 36.814, table A.2.1.1-2.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    gain_dbi: float = 14.0
    """Gain in the direction of the main beam, dBi."""
    horizontal_beamwidth_deg: float = 70.0
    """Width of the main beam in azimuth between its 3 dB points, degrees."""
    front_to_back_db: float = 25.0
    """Largest attenuation in azimuth and in total, dB."""
    vertical_beamwidth_deg: float = 10.0
    """Width of the main beam in elevation between its 3 dB points, degrees."""
    side_lobe_db: float = 20.0
    """Largest attenuation in elevation, dB."""

    def __post_init__(self) -> None:
        for name in ("horizontal_beamwidth_deg", "vertical_beamwidth_deg"):
            if getattr(self, name) <= 0:
                raise ValueError(f"antenna: {name} must be positive, got {getattr(self, name)}")

    def gain_db(self, azimuth_deg: Angles, depression_deg: Angles, tilt_deg: float) -> Angles:
        """Gain in dBi towards the given directions.

        `azimuth_deg` is relative to the boresight, `depression_deg` and the electrical tilt
        `tilt_deg` are angles below the horizon.
        """
        offset_deg = (azimuth_deg + 180.0) % 360.0 - 180.0
        horizontal = 12 * (offset_deg / self.horizontal_beamwidth_deg) ** 2
        vertical = 12 * ((depression_deg - tilt_deg) / self.vertical_beamwidth_deg) ** 2
        loss = np.minimum(horizontal, self.front_to_back_db) + np.minimum(
            vertical, self.side_lobe_db
        )
        return self.gain_dbi - np.minimum(loss, self.front_to_back_db)


@dataclass(frozen=True, kw_only=True)
class ColumnAntenna:
    """A vertical column of equal elements behind one transceiver; a phase shift tilts the beam.

    Raises: ValueError unless there is at least one element.
    Source: TR 36.873, table 7.1-1 (element) and equation 7.1-2 (column of elements).
    """

    __pydantic_config__ = FORBID_UNKNOWN

    elements: int = 10
    """Number of elements in the column, at least 1."""
    gain_dbi: float = 8.0
    """Gain of one element in its main direction, dBi."""
    beamwidth_deg: float = 65.0
    """Width of an element's beam between its 3 dB points, in azimuth and in elevation, degrees."""
    floor_db: float = 30.0
    """Largest attenuation of an element, in each plane and in total, dB."""
    spacing_wavelengths: float = 0.5
    """Distance between neighbouring elements, in wavelengths."""

    def __post_init__(self) -> None:
        if self.elements < 1:
            raise ValueError(f"antenna: elements must be at least 1, got {self.elements}")

    def gain_db(self, azimuth_deg: Angles, depression_deg: Angles, tilt_deg: float) -> Angles:
        """Gain in dBi towards the given directions.

        `azimuth_deg` is relative to the boresight, `depression_deg` and the electrical tilt
        `tilt_deg` are angles below the horizon.
        """
        offset_deg = (azimuth_deg + 180.0) % 360.0 - 180.0
        horizontal = np.minimum(12 * (offset_deg / self.beamwidth_deg) ** 2, self.floor_db)
        vertical = np.minimum(12 * (depression_deg / self.beamwidth_deg) ** 2, self.floor_db)
        element_db = self.gain_dbi - np.minimum(horizontal + vertical, self.floor_db)
        return element_db + self._array_gain_db(depression_deg, tilt_deg)

    def _array_gain_db(self, depression_deg: Angles, tilt_deg: float) -> Angles:
        """|sum_m e^(2 pi i m s (sin depression - sin tilt))|^2 / M in dB, at least -100 dB."""
        if self.elements == 1:
            return np.zeros_like(depression_deg)
        sine_difference = np.sin(np.radians(depression_deg)) - np.sin(np.radians(tilt_deg))
        phase_step_rad = 2 * np.pi * self.spacing_wavelengths * sine_difference
        element = np.arange(self.elements)
        field = np.exp(1j * element * phase_step_rad[..., None]).sum(axis=-1)
        return 10 * np.log10(np.maximum(np.abs(field) ** 2 / self.elements, 1e-10))
