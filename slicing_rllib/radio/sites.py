"""Where the sites are: on a hexagonal grid or cluster on a torus, or at listed coordinates.

A point in the area is stored in fractional coordinates of the area's parallelogram, in [0, 1).
Dropping the integer part wraps a point around the torus; multiplying by the map's size gives its
map position.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from slicing_rllib.radio.settings import (
    SETTINGS,
    Decibels,
    Degrees,
    Distance,
    Metres,
    require_distinct,
)

Vector = tuple[Metres, Metres]
Points = Float[np.ndarray, "*points 2"]


@dataclass(frozen=True, kw_only=True)
class Area:
    """A parallelogram: `origin_m` is one corner and `edges_m` are the two edges from it.

    If `wraps`, opposite edges are joined, which makes a torus; otherwise the edges are walls."""

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


def _hexagonal_m(i: int, j: int, site_distance_m: float) -> Vector:
    """i steps to the east and j steps to the north-east (60 degrees) on a hexagonal lattice."""
    return site_distance_m * (i + j / 2), site_distance_m * math.sqrt(3) / 2 * j


def hexagonal_cluster_m(rings: int, site_distance_m: float) -> list[Vector]:
    """A central site and `rings` rings of sites around it: 1, 7, 19, 37 ... sites, centre first."""
    sites_m = [
        _hexagonal_m(i, j, site_distance_m)
        for i in range(-rings, rings + 1)
        for j in range(-rings, rings + 1)
        if abs(i + j) <= rings
    ]
    return sorted(sites_m, key=lambda site: (round(math.hypot(*site), 6), math.atan2(*site)))


SECTOR_AZIMUTHS_DEG = (30.0, 150.0, 270.0)
"""Anticlockwise from the x axis. In a hexagonal grid they point between two neighbouring sites."""
LEAST_EXTENT_M = 20.0
"""Sites of a list that all lie nearer to each other than this are taken for degrees."""
MAX_SITES = 10_000
"""Largest number of sites of a hexagonal layout."""

GroupsInTurn = Annotated[tuple[str, ...], Field(min_length=1)]
SitesAlong = Annotated[int, Field(ge=1, le=MAX_SITES)]


@settings(frozen=True, kw_only=True, config=SETTINGS)
class MastSpec:
    """The base-station mast at a site. Each of its sectors is a cell."""

    height_m: Distance = 25.0
    """Height of the antennas above ground."""
    azimuths_deg: Annotated[tuple[Degrees, ...], Field(min_length=1)] = SECTOR_AZIMUTHS_DEG
    """Boresight of each sector, anticlockwise from the x axis."""
    power_dbm: Decibels = 46.0
    """Transmit power of a cell over its whole carrier."""
    tilt_deg: Degrees = 8.0
    """Electrical tilt, degrees below the horizon."""
    sector_powers_dbm: tuple[Decibels, ...] = ()
    """Transmit power of each sector where they differ; empty: all have `power_dbm`."""
    sector_tilts_deg: tuple[Degrees, ...] = ()
    """Tilt of each sector where they differ; empty: all have `tilt_deg`."""

    def __post_init__(self) -> None:
        """Raises: ValueError for another number of powers or tilts than of sectors."""
        for name in ("sector_powers_dbm", "sector_tilts_deg"):
            if values := getattr(self, name):
                _require_one_per_sector("mast", name, len(values), self)

    @property
    def powers_dbm(self) -> tuple[float, ...]:
        """Transmit power of each sector."""
        return self.sector_powers_dbm or (self.power_dbm,) * len(self.azimuths_deg)

    @property
    def tilts_deg(self) -> tuple[float, ...]:
        """Tilt of each sector."""
        return self.sector_tilts_deg or (self.tilt_deg,) * len(self.azimuths_deg)


def _require_one_per_sector(where: str, name: str, n: int, mast: MastSpec) -> None:
    if n != len(mast.azimuths_deg):
        raise ValueError(
            f"{where}: expected as many {name} as azimuths_deg, "
            f"got {n} and {len(mast.azimuths_deg)}"
        )


@settings(frozen=True, kw_only=True, config=SETTINGS)
class SiteSpec:
    """A site: its position, its mast and the SLA group of each of its sectors."""

    x_m: Metres
    """East of the origin."""
    y_m: Metres
    """North of the origin."""
    mast: MastSpec = MastSpec()
    """The mast at the site."""
    sla_groups: tuple[str, ...]
    """SLA group of each sector, in the order of `mast.azimuths_deg`."""
    name: str | None = None
    """The operator's name of the site."""
    cell_ids: tuple[str, ...] = ()
    """The operator's name of each sector, in the same order; empty where there are none."""

    def __post_init__(self) -> None:
        """Raises: ValueError for another number of SLA groups or cell IDs than of sectors."""
        where = f"site at ({self.x_m}, {self.y_m})"
        _require_one_per_sector(where, "sla_groups", len(self.sla_groups), self.mast)
        if self.cell_ids:
            _require_one_per_sector(where, "cell_ids", len(self.cell_ids), self.mast)


@settings(frozen=True, kw_only=True, config=SETTINGS)
class HexagonalGrid:
    """A hexagonal grid of equal masts on a torus."""

    kind: Literal["grid"] = "grid"
    """Distinguishes the three kinds of layout in YAML."""
    rows: SitesAlong = 2
    """Number of rows of sites."""
    columns: SitesAlong = 2
    """Number of sites per row."""
    site_distance_m: Distance = 500.0
    """Distance between neighbouring sites."""
    mast: MastSpec = MastSpec()
    """The mast at every site."""
    sla_groups: GroupsInTurn
    """SLA groups, assigned to the sites in turn; the cells of a site have the same one."""

    def __post_init__(self) -> None:
        """Raises: ValueError for more than `MAX_SITES` sites."""
        if self.rows * self.columns > MAX_SITES:
            raise ValueError(
                f"layout: expected at most {MAX_SITES} sites, got {self.rows * self.columns}"
            )

    @property
    def sites(self) -> tuple[SiteSpec, ...]:
        """The sites row by row; each row is shifted right by half a site distance."""
        sites_m = [
            _hexagonal_m(column, row, self.site_distance_m)
            for row in range(self.rows)
            for column in range(self.columns)
        ]
        return _make_sites(sites_m, self.mast, self.sla_groups)

    @property
    def area(self) -> Area:
        """The torus on which the grid has no border."""
        edges_m = (
            _hexagonal_m(0, self.rows, self.site_distance_m),
            _hexagonal_m(self.columns, 0, self.site_distance_m),
        )
        return Area(origin_m=(0.0, 0.0), edges_m=edges_m, wraps=True)


@settings(frozen=True, kw_only=True, config=SETTINGS)
class HexagonalCluster:
    """A hexagonal cluster of equal masts on a torus: 1, 7, 19, 37 ... sites."""

    kind: Literal["cluster"] = "cluster"
    """Distinguishes the three kinds of layout in YAML."""
    rings: Annotated[int, Field(ge=0, le=57)] = 2
    """Number of rings of sites around the central site."""
    site_distance_m: Distance = 500.0
    """Distance between neighbouring sites."""
    mast: MastSpec = MastSpec()
    """The mast at every site."""
    sla_groups: GroupsInTurn
    """SLA groups, assigned to the sites in turn; the cells of a site have the same one."""

    @property
    def sites(self) -> tuple[SiteSpec, ...]:
        """The sites, in the order of their cells."""
        sites_m = hexagonal_cluster_m(self.rings, self.site_distance_m)
        return _make_sites(sites_m, self.mast, self.sla_groups)

    @property
    def area(self) -> Area:
        """The torus whose copies of the cluster tile the plane."""
        i, j = self.rings + 1, self.rings
        # The second edge is the first one rotated by 60 degrees: (i, j) becomes (-j, i + j).
        edges_m = (
            _hexagonal_m(i, j, self.site_distance_m),
            _hexagonal_m(-j, i + j, self.site_distance_m),
        )
        return Area(origin_m=(0.0, 0.0), edges_m=edges_m, wraps=True)


@settings(frozen=True, kw_only=True, config=SETTINGS)
class SiteList:
    """Sites by coordinates, on a torus or in a rectangle with reflecting walls."""

    kind: Literal["sites"] = "sites"
    """Distinguishes the three kinds of layout in YAML."""
    sites: Annotated[tuple[SiteSpec, ...], Field(min_length=1)]
    """The sites."""
    torus_m: tuple[Vector, Vector] | None = None
    """Edges of the torus, as two vectors; None for a rectangle with walls."""
    margin_m: Distance = 250.0
    """Distance between the outermost sites and the walls of the rectangle; unused on a torus."""

    def __post_init__(self) -> None:
        """Raises: ValueError for sites that are degrees, most likely; a cell ID that stands twice;
        or a torus without area."""
        xs, ys = zip(*((site.x_m, site.y_m) for site in self.sites), strict=True)
        extent_m = math.hypot(max(xs) - min(xs), max(ys) - min(ys))
        if len(self.sites) > 1 and 0 < extent_m < LEAST_EXTENT_M:
            raise ValueError(
                f"layout: expected sites in metres, got sites within {extent_m:.2g} m of each "
                "other; `slicing-rllib scenario from-sites` converts degrees of latitude and "
                "longitude"
            )
        require_distinct("layout, cell_ids", [n for site in self.sites for n in site.cell_ids])
        if self.torus_m is not None and self.area.size_m2 <= 0:
            raise ValueError(f"layout: torus_m must span an area, got {self.torus_m}")

    @property
    def area(self) -> Area:
        """The area in which UEs move."""
        if self.torus_m is not None:
            return Area(origin_m=(0.0, 0.0), edges_m=self.torus_m, wraps=True)
        xs, ys = zip(*((site.x_m, site.y_m) for site in self.sites), strict=True)
        width = max(xs) - min(xs) + 2 * self.margin_m
        depth = max(ys) - min(ys) + 2 * self.margin_m
        origin_m = (min(xs) - self.margin_m, min(ys) - self.margin_m)
        return Area(origin_m=origin_m, edges_m=((width, 0.0), (0.0, depth)), wraps=False)


def _make_sites(
    sites_m: list[Vector], mast: MastSpec, sla_groups: tuple[str, ...]
) -> tuple[SiteSpec, ...]:
    sectors = len(mast.azimuths_deg)
    return tuple(
        SiteSpec(x_m=x, y_m=y, mast=mast, sla_groups=(sla_groups[i % len(sla_groups)],) * sectors)
        for i, (x, y) in enumerate(sites_m)
    )
