"""The ground that a network stands on: a torus, or a rectangle whose walls reflect.

Places are fractional coordinates of the period parallelogram, in [0, 1): wrapping is dropping the
integer part, and a map position is the fractional coordinate times the map's size.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Vector = tuple[float, float]
Points = Float[np.ndarray, "*points 2"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Origin, two edge vectors, and whether opposite edges are one."""

    origin_m: Vector
    edges_m: tuple[Vector, Vector]
    wraps: bool

    def metres(self, fractions: Points) -> Points:
        """Places in metres."""
        return fractions @ np.array(self.edges_m) + np.array(self.origin_m)

    def fractions(self, points_m: Points) -> Points:
        """Fractional coordinates; those of a torus are wrapped into [0, 1)."""
        fractions = (points_m - np.array(self.origin_m)) @ np.linalg.inv(np.array(self.edges_m))
        return fractions - np.floor(fractions) if self.wraps else fractions

    def displacements_m(
        self, from_m: Float[np.ndarray, "*#points 2"], to_m: Float[np.ndarray, "*#points 2"]
    ) -> Points:
        """Vectors from one place to another: on a torus, the shortest of all."""
        direct = to_m - from_m
        if not self.wraps:
            return direct
        edges = np.array(self.edges_m)
        turns = direct @ np.linalg.inv(edges)
        nearest = (turns - np.round(turns)) @ edges
        best, best_length = nearest, np.linalg.norm(nearest, axis=-1)
        # Rounding is not enough in a slanted parallelogram: try the eight images around it too.
        for shift in [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]:
            image = nearest + np.array(shift) @ edges
            length = np.linalg.norm(image, axis=-1)
            closer = length < best_length
            best = np.where(closer[..., None], image, best)
            best_length = np.where(closer, length, best_length)
        return best

    def grid_shape(self, resolution_m: float) -> tuple[int, int]:
        """Map positions along each edge, no farther apart than the resolution."""
        first, second = (max(1, math.ceil(math.hypot(*e) / resolution_m)) for e in self.edges_m)
        return first, second

    def grid_m(self, shape: tuple[int, int]) -> Float[np.ndarray, "row column 2"]:
        """Centres of the map positions."""
        rows, columns = ((np.arange(n) + 0.5) / n for n in shape)
        fractions = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
        return self.metres(fractions)

    @property
    def area_m2(self) -> float:
        return abs(float(np.linalg.det(np.array(self.edges_m))))


def hexagonal_sites_m(rows: int, columns: int, site_distance_m: float) -> list[Vector]:
    """Sites of a hexagonal grid, row by row, each row half a site distance to the right."""
    height = site_distance_m * math.sqrt(3) / 2
    return [
        (site_distance_m * (column + row / 2), height * row)
        for row in range(rows)
        for column in range(columns)
    ]


def hexagonal_torus(rows: int, columns: int, site_distance_m: float) -> tuple[Vector, Vector]:
    """Periods after which a hexagonal grid of that many rows and columns repeats itself."""
    height = site_distance_m * math.sqrt(3) / 2
    return (site_distance_m * rows / 2, height * rows), (site_distance_m * columns, 0.0)


def hexagonal_cluster_m(rings: int, site_distance_m: float) -> list[Vector]:
    """A site with rings of sites around it: 1, 7, 19, 37 ... sites, centre first."""
    height = site_distance_m * math.sqrt(3) / 2
    places = [
        (site_distance_m * (i + j / 2), height * j)
        for i in range(-rings, rings + 1)
        for j in range(-rings, rings + 1)
        if abs(i + j) <= rings
    ]
    return sorted(places, key=lambda place: (round(math.hypot(*place), 6), math.atan2(*place)))


def cluster_torus(rings: int, site_distance_m: float) -> tuple[Vector, Vector]:
    """Periods after which copies of a cluster of that many rings tile the plane."""
    i, j = rings + 1, rings
    height = site_distance_m * math.sqrt(3) / 2
    first = (site_distance_m * (i + j / 2), height * j)
    # The same vector turned by 60 degrees: (i, j) becomes (-j, i + j).
    second = (site_distance_m * (-j + (i + j) / 2), height * (i + j))
    return first, second
