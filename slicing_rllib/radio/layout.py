"""Hexagonal layouts: the positions of sites, and the torus on which a layout has no border."""

import math

from slicing_rllib.radio.area import Vector


def hexagonal_sites_m(rows: int, columns: int, site_distance_m: float) -> list[Vector]:
    """Sites of a hexagonal grid, row by row; each row is shifted right by half a site distance."""
    height = site_distance_m * math.sqrt(3) / 2
    return [
        (site_distance_m * (column + row / 2), height * row)
        for row in range(rows)
        for column in range(columns)
    ]


def hexagonal_torus(rows: int, columns: int, site_distance_m: float) -> tuple[Vector, Vector]:
    """Edges of the torus on which a hexagonal grid of `rows` x `columns` sites has no border."""
    height = site_distance_m * math.sqrt(3) / 2
    return (site_distance_m * rows / 2, height * rows), (site_distance_m * columns, 0.0)


def hexagonal_cluster_m(rings: int, site_distance_m: float) -> list[Vector]:
    """A central site and `rings` rings of sites around it: 1, 7, 19, 37 ... sites, centre first."""
    height = site_distance_m * math.sqrt(3) / 2
    sites_m = [
        (site_distance_m * (i + j / 2), height * j)
        for i in range(-rings, rings + 1)
        for j in range(-rings, rings + 1)
        if abs(i + j) <= rings
    ]
    return sorted(sites_m, key=lambda site: (round(math.hypot(*site), 6), math.atan2(*site)))


def cluster_torus(rings: int, site_distance_m: float) -> tuple[Vector, Vector]:
    """Edges of the torus whose copies of a cluster with `rings` rings tile the plane."""
    i, j = rings + 1, rings
    height = site_distance_m * math.sqrt(3) / 2
    first = (site_distance_m * (i + j / 2), height * j)
    # The first vector rotated by 60 degrees: (i, j) becomes (-j, i + j).
    second = (site_distance_m * (-j + (i + j) / 2), height * (i + j))
    return first, second
