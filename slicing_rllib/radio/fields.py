"""Gaussian random fields on a map: what is correlated in space is drawn once, not per step."""

import numpy as np
from jaxtyping import Float

from slicing_rllib.radio.layout import Layout, Vector

Field = Float[np.ndarray, "row column"]


class FieldSampler:
    """Draws fields of zero mean, unit variance and correlation exp(-d/correlation_m).

    On a torus the distance is the wrapped one. Between walls the field is cut from a larger torus,
    so that opposite walls know nothing of each other.
    """

    def __init__(self, ground: Layout, shape: tuple[int, int], correlation_m: float) -> None:
        self._shape = shape
        self._torus_shape = shape if ground.wraps else (2 * shape[0], 2 * shape[1])
        scale = 1.0 if ground.wraps else 2.0
        edges = np.array(ground.edges_m) * scale
        torus = Layout(
            origin_m=(0.0, 0.0), edges_m=(_vector(edges[0]), _vector(edges[1])), wraps=True
        )
        self._amplitudes = amplitude_spectrum(torus, self._torus_shape, correlation_m)

    def draw(self, rng: np.random.Generator) -> Field:
        """One field."""
        white = np.fft.rfft2(rng.standard_normal(self._torus_shape))
        field = np.fft.irfft2(self._amplitudes * white, self._torus_shape)
        return field[: self._shape[0], : self._shape[1]]


def amplitude_spectrum(torus: Layout, shape: tuple[int, int], correlation_m: float) -> Field:
    """Square root of the half spectrum of the correlation.

    Wrapping makes a few eigenvalues slightly negative: they are zero here, and the variance is
    scaled back to one.
    """
    places_m = torus.grid_m(shape)
    distance_m = np.linalg.norm(torus.displacements_m(places_m[0, 0], places_m), axis=-1)
    spectrum = np.maximum(np.fft.fft2(np.exp(-distance_m / correlation_m)).real, 0.0)
    return np.sqrt(spectrum / spectrum.mean())[:, : shape[1] // 2 + 1]


def _vector(edge: Float[np.ndarray, "2"]) -> Vector:
    return float(edge[0]), float(edge[1])
