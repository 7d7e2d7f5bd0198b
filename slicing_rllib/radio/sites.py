"""Where masts stand: a wrapped hexagonal grid or cluster, or a list of coordinates."""

from dataclasses import dataclass
from typing import Literal

from slicing_rllib.radio.checks import FORBID_UNKNOWN, require_positive
from slicing_rllib.radio.layout import (
    Layout,
    Vector,
    cluster_torus,
    hexagonal_cluster_m,
    hexagonal_sites_m,
    hexagonal_torus,
)

SECTOR_AZIMUTHS_DEG = (30.0, 150.0, 270.0)
"""Anticlockwise from the x axis; in a hexagonal grid they look between two neighbouring sites."""


@dataclass(frozen=True, kw_only=True)
class MastSpec:
    """What stands at a site; each sector is a cell."""

    __pydantic_config__ = FORBID_UNKNOWN

    height_m: float = 25.0
    azimuths_deg: tuple[float, ...] = SECTOR_AZIMUTHS_DEG
    power_dbm: float = 46.0
    """Total per cell, over the whole carrier."""
    tilt_deg: float = 8.0
    """Electrical tilt below the horizon."""

    def __post_init__(self) -> None:
        if not self.azimuths_deg:
            raise ValueError("mast: expected at least one azimuth in azimuths_deg")
        require_positive("mast", height_m=self.height_m)


@dataclass(frozen=True, kw_only=True)
class SiteSpec:
    """A mast at a place, with the SLA group of each of its sectors."""

    __pydantic_config__ = FORBID_UNKNOWN

    x_m: float
    y_m: float
    mast: MastSpec = MastSpec()
    sla_groups: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.sla_groups) != len(self.mast.azimuths_deg):
            raise ValueError(
                f"site at ({self.x_m}, {self.y_m}): expected as many sla_groups as azimuths_deg, "
                f"got {len(self.sla_groups)} and {len(self.mast.azimuths_deg)}"
            )


@dataclass(frozen=True, kw_only=True)
class HexagonalGrid:
    """Rows and columns of equal masts on a torus; SLA groups go to the sites in turn."""

    __pydantic_config__ = FORBID_UNKNOWN

    kind: Literal["grid"] = "grid"
    rows: int = 2
    columns: int = 2
    site_distance_m: float = 500.0
    mast: MastSpec = MastSpec()
    sla_groups: tuple[str, ...]

    def __post_init__(self) -> None:
        require_positive("layout", rows=self.rows, columns=self.columns)
        require_positive("layout", site_distance_m=self.site_distance_m)
        _some_groups(self.sla_groups)

    @property
    def sites(self) -> tuple[SiteSpec, ...]:
        places_m = hexagonal_sites_m(self.rows, self.columns, self.site_distance_m)
        return _equal_masts(places_m, self.mast, self.sla_groups)

    @property
    def ground(self) -> Layout:
        periods = hexagonal_torus(self.rows, self.columns, self.site_distance_m)
        return Layout(origin_m=(0.0, 0.0), edges_m=periods, wraps=True)


@dataclass(frozen=True, kw_only=True)
class HexagonalCluster:
    """A mast and rings of equal masts around it, wrapped: 1, 7, 19, 37 ... sites."""

    __pydantic_config__ = FORBID_UNKNOWN

    kind: Literal["cluster"] = "cluster"
    rings: int = 2
    site_distance_m: float = 500.0
    mast: MastSpec = MastSpec()
    sla_groups: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.rings < 0:
            raise ValueError(f"layout: rings must not be negative, got {self.rings}")
        require_positive("layout", site_distance_m=self.site_distance_m)
        _some_groups(self.sla_groups)

    @property
    def sites(self) -> tuple[SiteSpec, ...]:
        places_m = hexagonal_cluster_m(self.rings, self.site_distance_m)
        return _equal_masts(places_m, self.mast, self.sla_groups)

    @property
    def ground(self) -> Layout:
        periods = cluster_torus(self.rings, self.site_distance_m)
        return Layout(origin_m=(0.0, 0.0), edges_m=periods, wraps=True)


@dataclass(frozen=True, kw_only=True)
class SiteList:
    """Sites by coordinates: on a torus with the given periods, or in a rectangle with walls."""

    __pydantic_config__ = FORBID_UNKNOWN

    kind: Literal["sites"] = "sites"
    sites: tuple[SiteSpec, ...]
    torus_m: tuple[Vector, Vector] | None = None
    margin_m: float = 250.0
    """How far the rectangle reaches beyond the outermost sites; no part in a torus."""

    def __post_init__(self) -> None:
        if not self.sites:
            raise ValueError("layout: expected at least one site in sites")
        require_positive("layout", margin_m=self.margin_m)
        if self.torus_m is not None and self.ground.area_m2 <= 0:
            raise ValueError(f"layout: torus_m must span an area, got {self.torus_m}")

    @property
    def ground(self) -> Layout:
        if self.torus_m is not None:
            return Layout(origin_m=(0.0, 0.0), edges_m=self.torus_m, wraps=True)
        xs, ys = zip(*((site.x_m, site.y_m) for site in self.sites), strict=True)
        width = max(xs) - min(xs) + 2 * self.margin_m
        depth = max(ys) - min(ys) + 2 * self.margin_m
        origin_m = (min(xs) - self.margin_m, min(ys) - self.margin_m)
        return Layout(origin_m=origin_m, edges_m=((width, 0.0), (0.0, depth)), wraps=False)


def _equal_masts(
    places_m: list[Vector], mast: MastSpec, groups: tuple[str, ...]
) -> tuple[SiteSpec, ...]:
    sectors = len(mast.azimuths_deg)
    return tuple(
        SiteSpec(x_m=x, y_m=y, mast=mast, sla_groups=(groups[i % len(groups)],) * sectors)
        for i, (x, y) in enumerate(places_m)
    )


def _some_groups(groups: tuple[str, ...]) -> None:
    if not groups:
        raise ValueError("layout: expected at least one name in sla_groups")
