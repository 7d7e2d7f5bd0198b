"""Groups the sectors of a table into sites, and tells about duplicates, gaps and outliers.

Sites far away from all others, most often a wrong or missing coordinate.

From latitude and longitude to metres on a plane.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from pyproj import Transformer

from slicing_rllib.inputs.site_tables import Sector, SectorTable
from slicing_rllib.radio import MastSpec, SiteSpec
from slicing_rllib.storage.errors import ConfigError

LEAST_DISTANCE_M = 20_000.0
"""A site nearer to the middle of the network than this is never an outlier."""
TIMES_TYPICAL = 8.0
"""An outlier is so many times as far from the middle as the site half-way in order of distance."""


def find_outliers(positions_m: Float[np.ndarray, "site 2"]) -> Bool[np.ndarray, " site"]:
    """Which sites are too far away to belong to the network.

    The middle is the median of the positions, which outliers do not move. Fewer than four sites
    have no outliers.
    """
    if len(positions_m) < 4:
        return np.zeros(len(positions_m), bool)
    distance_m = np.linalg.norm(positions_m - np.median(positions_m, axis=0), axis=1)
    limit_m = max(LEAST_DISTANCE_M, TIMES_TYPICAL * float(np.median(distance_m)))
    return distance_m > limit_m


def project_to_metres(
    lat: Sequence[float], lon: Sequence[float], centre: tuple[float, float]
) -> Float[np.ndarray, "point 2"]:
    """Metres east and north of `centre`, a latitude and longitude.

    The projection is azimuthal equidistant on the WGS 84 ellipsoid: distances from the centre are
    exact, and within 100 km of it all distances are, to 0.01 %.
    """
    definition = (
        f"+proj=aeqd +lat_0={centre[0]:.8f} +lon_0={centre[1]:.8f} +datum=WGS84 +units=m +no_defs"
    )
    transformer = Transformer.from_crs("EPSG:4326", definition, always_xy=True)
    x, y = transformer.transform(np.asarray(lon, float), np.asarray(lat, float))
    return np.stack([np.atleast_1d(x), np.atleast_1d(y)], axis=1)


SITE_EXTENT_M = 100.0
"""Sectors of one site may be listed at most so far apart; their mean is used."""
DEFAULTS = {name: getattr(MastSpec(), name) for name in ("height_m", "tilt_deg", "power_dbm")}
"""What is assumed of a sector whose row does not say."""


class Sites(NamedTuple):
    """The sites of a network."""

    sites: tuple[SiteSpec, ...]
    notices: tuple[str, ...]
    """What people should know: what was dropped, assumed or averaged, one line each."""
    centre: tuple[float, float] | None
    """Latitude and longitude of the origin; None where the table is in metres."""


def make_sites(
    table: SectorTable, *, sla_group: str, known_groups: Sequence[str], outliers: str
) -> Sites:
    """The sites of a table.

    `sla_group` is for sectors without one and must be in `known_groups`, as all others; `outliers`
    is `refuse`, `drop` or `keep`. Raises: ConfigError, one line that names the row.
    """
    notices: list[str] = []
    sectors = _drop_duplicates(table.sectors, notices)
    _check_groups(sectors, known_groups)
    groups = _group_by_site(sectors)
    positions_m, centre = _place(groups, table.is_geographic)
    names, kept = list(groups), _select(groups, positions_m, outliers, notices)
    _note_defaults(sectors, sla_group, notices)
    cell_names = [sector.cell for sector in sectors]
    are_unique = len(set(cell_names)) == len(cell_names)
    sites = tuple(
        _make_site(names[i], groups[names[i]], positions_m[i], sla_group, are_unique, notices)
        for i in kept
    )
    return Sites(sites, tuple(notices), centre)


def _drop_duplicates(sectors: Sequence[Sector], notices: list[str]) -> list[Sector]:
    """Each sector once. Raises: ConfigError for two rows that differ in what one sector is."""
    first: dict[tuple[object, ...], Sector] = {}
    n_dropped = 0
    for sector in sectors:
        # A table with names of cells may have two carriers at one azimuth.
        name = sector.cell or ""
        key = (sector.site or sector.position, name, None if name else sector.azimuth_deg)
        before = first.setdefault(key, sector)
        if before is sector:
            continue
        if _strip_place(before) != _strip_place(sector):
            what = f"cell {name}" if name else f"azimuth {sector.azimuth_deg:g}"
            site = sector.site or "the same position"
            raise ConfigError(
                f"{sector.where}: {what} of {site} stands in {before.where.split(', ')[-1]} with "
                "other values"
            )
        n_dropped += 1
    if n_dropped:
        notices.append(f"{n_dropped} rows stand twice and count once")
    return list(first.values())


def _strip_place(sector: Sector) -> tuple[object, ...]:
    values = {**sector.__dict__}
    del values["where"]
    return tuple(values.items())


def _check_groups(sectors: Sequence[Sector], known: Sequence[str]) -> None:
    for sector in sectors:
        if sector.sla_group is not None and sector.sla_group not in known:
            raise ConfigError(
                f"{sector.where}: expected an SLA group of the scenario, one of "
                f"{', '.join(known)}, got {sector.sla_group!r}"
            )


def _group_by_site(sectors: Sequence[Sector]) -> dict[str, list[Sector]]:
    """Sectors by the name of their site; without names, sectors of one position are a site."""
    groups: defaultdict[str, list[Sector]] = defaultdict(list)
    numbers: dict[tuple[float | None, ...], str] = {}
    for sector in sectors:
        name = sector.site or numbers.setdefault(sector.position, f"site_{len(numbers) + 1}")
        groups[name].append(sector)
    return dict(groups)


def _place(
    groups: dict[str, list[Sector]], is_geographic: bool
) -> tuple[Float[np.ndarray, "site 2"], tuple[float, float] | None]:
    """Position of each site in metres. Raises: ConfigError for a site that is in two places."""
    sectors = [sector for group in groups.values() for sector in group]
    if is_geographic:
        lat = [float(sector.lat or 0.0) for sector in sectors]
        lon = [float(sector.lon or 0.0) for sector in sectors]
        centre = (float(np.median(lat)), float(np.median(lon)))
        points_m = project_to_metres(lat, lon, centre)
    else:
        centre = None
        points_m = np.array([[sector.x_m, sector.y_m] for sector in sectors], float)
    positions, start = [], 0
    for name, group in groups.items():
        own = points_m[start : start + len(group)]
        start += len(group)
        extent_m = float(np.ptp(own, axis=0).max())
        if extent_m > SITE_EXTENT_M:
            raise ConfigError(
                f"{group[-1].where}: expected the sectors of site {name} at one place, got places "
                f"{extent_m:.0f} m apart"
            )
        positions.append(own.mean(axis=0))
    return np.array(positions), centre


def _select(
    groups: dict[str, list[Sector]],
    positions_m: Float[np.ndarray, "site 2"],
    outliers: str,
    notices: list[str],
) -> list[int]:
    """Indices of the sites to use. Raises: ConfigError for outliers where they are refused."""
    is_far = find_outliers(positions_m)
    names = list(groups)
    middle = np.median(positions_m, axis=0)
    far = [
        f"{names[i]} ({np.linalg.norm(positions_m[i] - middle) / 1000:,.0f} km)"
        for i in np.flatnonzero(is_far)
    ]
    if not far:
        return list(range(len(names)))
    if outliers == "refuse":
        first = groups[names[int(np.flatnonzero(is_far)[0])]][0]
        raise ConfigError(
            f"{first.where}: far from all other sites: {', '.join(far)}; --outliers drop leaves "
            "them out, --outliers keep uses them"
        )
    verb = "left out" if outliers == "drop" else "kept"
    notices.append(f"{verb}: {', '.join(far)} from the middle of all sites")
    return [i for i in range(len(names)) if outliers == "keep" or not is_far[i]]


def _note_defaults(sectors: Sequence[Sector], sla_group: str, notices: list[str]) -> None:
    for name, value in {**DEFAULTS, "sla_group": sla_group}.items():
        n = sum(getattr(sector, name) is None for sector in sectors)
        if n:
            notices.append(f"{n} of {len(sectors)} sectors have no {name}: {value} is assumed")


def _make_site(
    name: str,
    sectors: Sequence[Sector],
    position_m: Float[np.ndarray, " 2"],
    sla_group: str,
    cell_names_are_unique: bool,
    notices: list[str],
) -> SiteSpec:
    heights = [sector.height_m for sector in sectors if sector.height_m is not None]
    if heights and max(heights) > min(heights):
        notices.append(
            f"site {name}: heights from {min(heights):g} to {max(heights):g} m, the mean is used"
        )
    powers = tuple(_or_default(sector.power_dbm, "power_dbm") for sector in sectors)
    tilts = tuple(_or_default(sector.tilt_deg, "tilt_deg") for sector in sectors)
    mast = MastSpec(
        height_m=round(float(np.mean(heights)), 2) if heights else DEFAULTS["height_m"],
        azimuths_deg=_convert_azimuths(name, sectors, notices),
        power_dbm=powers[0],
        tilt_deg=tilts[0],
        sector_powers_dbm=powers if len(set(powers)) > 1 else (),
        sector_tilts_deg=tilts if len(set(tilts)) > 1 else (),
    )
    return SiteSpec(
        x_m=round(float(position_m[0]), 1),
        y_m=round(float(position_m[1]), 1),
        mast=mast,
        sla_groups=tuple(sector.sla_group or sla_group for sector in sectors),
        name=name,
        cell_ids=_name_cells(name, sectors, cell_names_are_unique),
    )


def _or_default(value: float | None, name: str) -> float:
    return round(DEFAULTS[name] if value is None else value, 2)


def _convert_azimuths(
    name: str, sectors: Sequence[Sector], notices: list[str]
) -> tuple[float, ...]:
    """Anticlockwise from east; operators count clockwise from north."""
    given = [sector.azimuth_deg for sector in sectors]
    if all(azimuth is None for azimuth in given):
        notices.append(f"site {name}: no azimuths, {len(given)} sectors at equal angles from north")
        given = [360.0 * i / len(given) for i in range(len(given))]
    for sector, azimuth in zip(sectors, given, strict=True):
        if azimuth is None or not -360 <= azimuth <= 360:
            raise ConfigError(
                f"{sector.where}: expected an azimuth from 0 to 360 degrees clockwise from north, "
                f"got {'none' if azimuth is None else format(azimuth, 'g')}"
            )
    return tuple(round((90.0 - float(azimuth or 0.0)) % 360.0, 2) for azimuth in given)


def _name_cells(site: str, sectors: Sequence[Sector], are_unique: bool) -> tuple[str, ...]:
    """The operator's names, with the site's where they repeat; numbers where there are none."""
    names = [sector.cell or str(i) for i, sector in enumerate(sectors, start=1)]
    is_complete = all(sector.cell for sector in sectors)
    return tuple(name if are_unique and is_complete else f"{site}_{name}" for name in names)
