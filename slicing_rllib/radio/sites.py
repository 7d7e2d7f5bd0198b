"""Positions of the sites: a hexagonal grid or cluster on a torus, or a list of coordinates."""

from dataclasses import dataclass
from typing import Literal

from slicing_rllib.radio.area import Area, Vector
from slicing_rllib.radio.checks import FORBID_UNKNOWN, require_positive
from slicing_rllib.radio.layout import (
    cluster_torus,
    hexagonal_cluster_m,
    hexagonal_sites_m,
    hexagonal_torus,
)

SECTOR_AZIMUTHS_DEG = (30.0, 150.0, 270.0)
"""Anticlockwise from the x axis. In a hexagonal grid they point between two neighbouring sites."""


@dataclass(frozen=True, kw_only=True)
class MastSpec:
    """The base-station mast at a site. Each of its sectors is a cell.

    Raises: ValueError without a sector or with a height that is not positive.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    height_m: float = 25.0
    """Height of the antennas above ground."""
    azimuths_deg: tuple[float, ...] = SECTOR_AZIMUTHS_DEG
    """Boresight of each sector, anticlockwise from the x axis."""
    power_dbm: float = 46.0
    """Transmit power of a cell over its whole carrier."""
    tilt_deg: float = 8.0
    """Electrical tilt, degrees below the horizon."""

    def __post_init__(self) -> None:
        if not self.azimuths_deg:
            raise ValueError("mast: expected at least one azimuth in azimuths_deg")
        require_positive("mast", height_m=self.height_m)


@dataclass(frozen=True, kw_only=True)
class SiteSpec:
    """A site: its position, its mast and the SLA group of each of its sectors.

    Raises: ValueError unless there are as many SLA groups as sectors.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    x_m: float
    """East of the origin."""
    y_m: float
    """North of the origin."""
    mast: MastSpec = MastSpec()
    """The mast at the site."""
    sla_groups: tuple[str, ...]
    """SLA group of each sector, in the order of `mast.azimuths_deg`."""

    def __post_init__(self) -> None:
        if len(self.sla_groups) != len(self.mast.azimuths_deg):
            raise ValueError(
                f"site at ({self.x_m}, {self.y_m}): expected as many sla_groups as azimuths_deg, "
                f"got {len(self.sla_groups)} and {len(self.mast.azimuths_deg)}"
            )


@dataclass(frozen=True, kw_only=True)
class HexagonalGrid:
    """A hexagonal grid of equal masts on a torus.

    Raises: ValueError for a number that is not positive or an empty `sla_groups`.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    kind: Literal["grid"] = "grid"
    """Distinguishes the three kinds of layout in YAML."""
    rows: int = 2
    """Number of rows of sites."""
    columns: int = 2
    """Number of sites per row."""
    site_distance_m: float = 500.0
    """Distance between neighbouring sites."""
    mast: MastSpec = MastSpec()
    """The mast at every site."""
    sla_groups: tuple[str, ...]
    """SLA groups, assigned to the sites in turn; the cells of a site have the same one."""

    def __post_init__(self) -> None:
        require_positive("layout", rows=self.rows, columns=self.columns)
        require_positive("layout", site_distance_m=self.site_distance_m)
        _require_sla_groups(self.sla_groups)

    @property
    def sites(self) -> tuple[SiteSpec, ...]:
        """The sites, in the order of their cells."""
        sites_m = hexagonal_sites_m(self.rows, self.columns, self.site_distance_m)
        return _make_sites(sites_m, self.mast, self.sla_groups)

    @property
    def area(self) -> Area:
        """The area in which UEs move."""
        edges_m = hexagonal_torus(self.rows, self.columns, self.site_distance_m)
        return Area(origin_m=(0.0, 0.0), edges_m=edges_m, wraps=True)


@dataclass(frozen=True, kw_only=True)
class HexagonalCluster:
    """A hexagonal cluster of equal masts on a torus: 1, 7, 19, 37 ... sites.

    Raises: ValueError for a negative number of rings, a distance that is not positive or an empty
    `sla_groups`.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    kind: Literal["cluster"] = "cluster"
    """Distinguishes the three kinds of layout in YAML."""
    rings: int = 2
    """Number of rings of sites around the central site, at least 0."""
    site_distance_m: float = 500.0
    """Distance between neighbouring sites."""
    mast: MastSpec = MastSpec()
    """The mast at every site."""
    sla_groups: tuple[str, ...]
    """SLA groups, assigned to the sites in turn; the cells of a site have the same one."""

    def __post_init__(self) -> None:
        if self.rings < 0:
            raise ValueError(f"layout: rings must not be negative, got {self.rings}")
        require_positive("layout", site_distance_m=self.site_distance_m)
        _require_sla_groups(self.sla_groups)

    @property
    def sites(self) -> tuple[SiteSpec, ...]:
        """The sites, in the order of their cells."""
        sites_m = hexagonal_cluster_m(self.rings, self.site_distance_m)
        return _make_sites(sites_m, self.mast, self.sla_groups)

    @property
    def area(self) -> Area:
        """The area in which UEs move."""
        edges_m = cluster_torus(self.rings, self.site_distance_m)
        return Area(origin_m=(0.0, 0.0), edges_m=edges_m, wraps=True)


@dataclass(frozen=True, kw_only=True)
class SiteList:
    """Sites by coordinates, on a torus or in a rectangle with reflecting walls.

    Raises: ValueError without a site, for a margin that is not positive or a torus without area.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    kind: Literal["sites"] = "sites"
    """Distinguishes the three kinds of layout in YAML."""
    sites: tuple[SiteSpec, ...]
    """The sites, at least one."""
    torus_m: tuple[Vector, Vector] | None = None
    """Edges of the torus, as two vectors; None for a rectangle with walls."""
    margin_m: float = 250.0
    """Distance between the outermost sites and the walls of the rectangle; unused on a torus."""

    def __post_init__(self) -> None:
        if not self.sites:
            raise ValueError("layout: expected at least one site in sites")
        require_positive("layout", margin_m=self.margin_m)
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


def _require_sla_groups(sla_groups: tuple[str, ...]) -> None:
    if not sla_groups:
        raise ValueError("layout: expected at least one name in sla_groups")
