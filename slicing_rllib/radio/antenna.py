"""Antenna gain of a sector as a function of azimuth and elevation."""

from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass

from slicing_rllib.radio.settings import SETTINGS, Attenuation, Beamwidth, Decibels, Positive

Angles = Float[np.ndarray, "*points"]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class SectorAntenna:
    """A sector antenna whose gain falls off parabolically in azimuth and in elevation.

    Source: TR 36.814, table A.2.1.1-2.
    """

    gain_dbi: Decibels = 14.0
    """Gain in the direction of the main beam, dBi."""
    horizontal_beamwidth_deg: Beamwidth = 70.0
    """Width of the main beam in azimuth between its 3 dB points, degrees."""
    front_to_back_db: Attenuation = 25.0
    """Largest attenuation in azimuth and in total, dB."""
    vertical_beamwidth_deg: Beamwidth = 10.0
    """Width of the main beam in elevation between its 3 dB points, degrees."""
    side_lobe_db: Attenuation = 20.0
    """Largest attenuation in elevation, dB."""

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


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class ColumnAntenna:
    """A vertical column of equal elements behind one transceiver; a phase shift tilts the beam.

    Source: TR 36.873, table 7.1-1 (element) and equation 7.1-2 (column of elements).
    """

    elements: Annotated[int, Field(ge=1, le=1024)] = 10
    """Number of elements in the column."""
    gain_dbi: Decibels = 8.0
    """Gain of one element in its main direction, dBi."""
    beamwidth_deg: Beamwidth = 65.0
    """Width of an element's beam between its 3 dB points, in azimuth and in elevation, degrees."""
    floor_db: Attenuation = 30.0
    """Largest attenuation of an element, in each plane and in total, dB."""
    spacing_wavelengths: Positive = 0.5
    """Distance between neighbouring elements, in wavelengths."""

    def gain_db(self, azimuth_deg: Angles, depression_deg: Angles, tilt_deg: float) -> Angles:
        """As `SectorAntenna.gain_db`."""
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
