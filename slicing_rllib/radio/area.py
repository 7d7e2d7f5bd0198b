"""The simulated area: a torus, or a rectangle with reflecting walls.

A point is stored in fractional coordinates of the area's parallelogram, in [0, 1). Dropping the
integer part wraps a point around the torus; multiplying by the map's size gives its map position.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Vector = tuple[float, float]
Points = Float[np.ndarray, "*points 2"]


@dataclass(frozen=True, kw_only=True)
class Area:
    """A parallelogram: `origin_m` is one corner and `edges_m` are the two edges from it.

    If `wraps`, opposite edges are joined, which makes a torus; otherwise the edges are walls.
    """

    origin_m: Vector
    edges_m: tuple[Vector, Vector]
    wraps: bool

    def metres(self, fractions: Points) -> Points:
        """Points in metres from their fractional coordinates."""
        return fractions @ np.array(self.edges_m) + np.array(self.origin_m)

    def fractions(self, points_m: Points) -> Points:
        """Fractional coordinates of points in metres; on a torus they are wrapped into [0, 1)."""
        fractions = (points_m - np.array(self.origin_m)) @ np.linalg.inv(np.array(self.edges_m))
        return fractions - np.floor(fractions) if self.wraps else fractions

    def displacements_m(
        self, from_m: Float[np.ndarray, "*#points 2"], to_m: Float[np.ndarray, "*#points 2"]
    ) -> Points:
        """Vectors from points to points; on a torus, the shortest of all wrapped vectors."""
        direct = to_m - from_m
        if not self.wraps:
            return direct
        edges = np.array(self.edges_m)
        turns = direct @ np.linalg.inv(edges)
        nearest = (turns - np.round(turns)) @ edges
        best, best_length = nearest, _lengths(nearest)
        # In a slanted parallelogram rounding may miss the nearest image: try the eight around it.
        for shift in [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]:
            image = nearest + np.array(shift) @ edges
            length = _lengths(image)
            closer = length < best_length
            best = np.where(closer[..., None], image, best)
            best_length = np.where(closer, length, best_length)
        return best

    def grid_shape(self, resolution_m: float) -> tuple[int, int]:
        """Number of map positions along each edge, at most `resolution_m` apart."""
        first, second = (max(1, math.ceil(math.hypot(*e) / resolution_m)) for e in self.edges_m)
        return first, second

    def grid_m(self, shape: tuple[int, int]) -> Float[np.ndarray, "row column 2"]:
        """Centres of the map positions in metres."""
        rows, columns = ((np.arange(n) + 0.5) / n for n in shape)
        fractions = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
        return self.metres(fractions)

    @property
    def size_m2(self) -> float:
        """Surface of the parallelogram."""
        return abs(float(np.linalg.det(np.array(self.edges_m))))


def _lengths(vectors_m: Points) -> Float[np.ndarray, "*points"]:
    return np.asarray(np.linalg.norm(vectors_m, axis=-1))
