"""Positions of the sites: a hexagonal grid or cluster on a torus, or a list of coordinates."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from slicing_rllib.radio.area import Area, Vector
from slicing_rllib.radio.checks import FORBID_UNKNOWN, require_finite, require_positive
from slicing_rllib.radio.layout import (
    cluster_torus,
    hexagonal_cluster_m,
    hexagonal_sites_m,
    hexagonal_torus,
)

SECTOR_AZIMUTHS_DEG = (30.0, 150.0, 270.0)
"""Anticlockwise from the x axis. In a hexagonal grid they point between two neighbouring sites."""
LEAST_EXTENT_M = 20.0
"""Sites of a list that all lie nearer to each other than this are taken for degrees."""


@dataclass(frozen=True, kw_only=True)
class MastSpec:
    """The base-station mast at a site. Each of its sectors is a cell.

    Raises: ValueError without a sector, with a height that is not positive, or with another number
    of tilts or powers than of azimuths.
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
    sector_powers_dbm: tuple[float, ...] = ()
    """Transmit power of each sector where they differ; empty: all have `power_dbm`."""
    sector_tilts_deg: tuple[float, ...] = ()
    """Tilt of each sector where they differ; empty: all have `tilt_deg`."""

    def __post_init__(self) -> None:
        if not self.azimuths_deg:
            raise ValueError("mast: expected at least one azimuth in azimuths_deg")
        require_positive("mast", height_m=self.height_m)
        require_finite("mast", power_dbm=self.power_dbm, tilt_deg=self.tilt_deg)
        for name in ("azimuths_deg", "sector_powers_dbm", "sector_tilts_deg"):
            values = getattr(self, name)
            require_finite("mast", **{f"{name}[{i}]": value for i, value in enumerate(values)})
            if values and len(values) != len(self.azimuths_deg):
                raise ValueError(
                    f"mast: expected as many {name} as azimuths_deg, "
                    f"got {len(values)} and {len(self.azimuths_deg)}"
                )

    @property
    def powers_dbm(self) -> tuple[float, ...]:
        """Transmit power of each sector."""
        return self.sector_powers_dbm or (self.power_dbm,) * len(self.azimuths_deg)

    @property
    def tilts_deg(self) -> tuple[float, ...]:
        """Tilt of each sector."""
        return self.sector_tilts_deg or (self.tilt_deg,) * len(self.azimuths_deg)


@dataclass(frozen=True, kw_only=True)
class SiteSpec:
    """A site: its position, its mast and the SLA group of each of its sectors.

    Raises: ValueError unless there are as many SLA groups (and cell IDs, if any) as sectors, and
    the position is finite.
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
    name: str | None = None
    """The operator's name of the site."""
    cell_ids: tuple[str, ...] = ()
    """The operator's name of each sector, in the same order; empty where there are none."""

    def __post_init__(self) -> None:
        require_finite("site", x_m=self.x_m, y_m=self.y_m)
        if self.cell_ids and len(self.cell_ids) != len(self.mast.azimuths_deg):
            raise ValueError(
                f"site at ({self.x_m}, {self.y_m}): expected as many cell_ids as azimuths_deg, "
                f"got {len(self.cell_ids)} and {len(self.mast.azimuths_deg)}"
            )
        if len(self.sla_groups) != len(self.mast.azimuths_deg):
            raise ValueError(
                f"site at ({self.x_m}, {self.y_m}): expected as many sla_groups as azimuths_deg, "
                f"got {len(self.sla_groups)} and {len(self.mast.azimuths_deg)}"
            )

    def list_cell_ids(self) -> tuple[str | None, ...]:
        """The operator's name of each sector; None where there is none."""
        return self.cell_ids or (None,) * len(self.mast.azimuths_deg)


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

    Raises: ValueError without a site, for sites that lie within 20 m (which are degrees, most
    likely), for a cell ID that stands twice, a margin that is not positive or a torus without area.
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
        _refuse_degrees(self.sites)
        counts = Counter(name for site in self.sites for name in site.cell_ids)
        for name, count in counts.items():
            if count > 1:
                raise ValueError(f"layout: the cell ID {name!r} stands twice")
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


def _refuse_degrees(sites: tuple[SiteSpec, ...]) -> None:
    """Raises: ValueError for several sites that are nearer to each other than any masts are."""
    xs, ys = zip(*((site.x_m, site.y_m) for site in sites), strict=True)
    extent_m = math.hypot(max(xs) - min(xs), max(ys) - min(ys))
    if len(sites) > 1 and 0 < extent_m < LEAST_EXTENT_M:
        raise ValueError(
            f"layout: expected sites in metres, got sites within {extent_m:.2g} m of each other; "
            "`slicing-rllib scenario from-sites` converts degrees of latitude and longitude"
        )


def _require_sla_groups(sla_groups: tuple[str, ...]) -> None:
    if not sla_groups:
        raise ValueError("layout: expected at least one name in sla_groups")
