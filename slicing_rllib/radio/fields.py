"""Spatially correlated Gaussian random fields on the map."""

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio.area import Area, Vector

Field = Float[np.ndarray, "row column"]


class FieldSampler:
    """Draws fields with zero mean, unit variance and correlation exp(-d / correlation_m).

    On a torus, d is the wrapped distance. In an area with walls, the field is cut from a torus of
    twice the size, so that its values at opposite walls are uncorrelated.
    """

    def __init__(self, area: Area, shape: tuple[int, int], correlation_m: float) -> None:
        self._shape = shape
        self._torus_shape = shape if area.wraps else (2 * shape[0], 2 * shape[1])
        scale = 1.0 if area.wraps else 2.0
        edges = np.array(area.edges_m) * scale
        torus = Area(
            origin_m=(0.0, 0.0), edges_m=(_as_vector(edges[0]), _as_vector(edges[1])), wraps=True
        )
        self._amplitudes = amplitude_spectrum(torus, self._torus_shape, correlation_m)

    def draw(self, rng: np.random.Generator) -> Field:
        """One field, from standard normal draws of `rng`."""
        white = np.fft.rfft2(rng.standard_normal(self._torus_shape))
        field = np.fft.irfft2(self._amplitudes * white, self._torus_shape)
        return field[: self._shape[0], : self._shape[1]]


def amplitude_spectrum(torus: Area, shape: tuple[int, int], correlation_m: float) -> Field:
    """Square root of the correlation's power spectrum, for the non-redundant half of frequencies.

    Wrapping the correlation around the torus makes a few eigenvalues slightly negative. They are
    set to zero, and the spectrum is rescaled to unit variance.
    """
    positions_m = torus.grid_m(shape)
    distance_m = np.linalg.norm(torus.displacements_m(positions_m[0, 0], positions_m), axis=-1)
    spectrum = np.maximum(np.fft.fft2(np.exp(-distance_m / correlation_m)).real, 0.0)
    return np.sqrt(spectrum / spectrum.mean())[:, : shape[1] // 2 + 1]


def _as_vector(edge: Float[np.ndarray, "2"]) -> Vector:
    return float(edge[0]), float(edge[1])
