"""Groups the sectors of a table into sites on a plane, and tells what was dropped or assumed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import ArrayLike
from pyproj import Transformer

from slicing_rllib.inputs.site_tables import POSITION, SectorTable
from slicing_rllib.storage.errors import ConfigError

LEAST_DISTANCE_M = 20_000.0
"""A site nearer to the middle of the network than this is never an outlier."""
TIMES_TYPICAL = 8.0
"""An outlier is more than this many times as far from the middle as the median site."""
MIN_SITES_WITH_OUTLIERS = 4
SITE_EXTENT_M = 100.0
"""Sectors of one site may be listed at most this far apart; their mean is used."""


class Sites(NamedTuple):
    """The sites of a network."""

    sites: list[dict[str, Any]]
    """As in the layout of a scenario: position, mast, SLA groups, name and cell ids."""
    notices: list[str]
    """What people should know: what was dropped, assumed or averaged, one line each."""
    centre: tuple[float, float] | None
    """Latitude and longitude of the origin; None where the table is in metres."""


def make_sites(
    table: SectorTable,
    *,
    defaults: Mapping[str, float],
    sla_group: str,
    known_groups: Sequence[str],
    outliers: str,
) -> Sites:
    """The sites of a table.

    `defaults` are the height_m, tilt_deg and power_dbm of sectors whose row does not say;
    `sla_group` is for sectors without one and must be in `known_groups`, as all others; `outliers`
    is `refuse`, `drop` or `keep`. Raises: ConfigError, one line that names the row.
    """
    notices: list[str] = []
    sectors = _drop_duplicates(table.sectors, notices)
    unknown = sectors[~sectors["sla_group"].isin(["", *known_groups])]
    if len(unknown):
        raise ConfigError(
            f"{unknown['where'].iloc[0]}: expected an SLA group of the scenario, one of "
            f"{', '.join(known_groups)}, got {unknown['sla_group'].iloc[0]!r}"
        )
    _name_sites(sectors)
    centre = _place(sectors, table.is_geographic)
    kept = _select(sectors, outliers, notices)
    for name, value in {**defaults, "sla_group": sla_group}.items():
        is_unknown = sectors[name].isna() | (sectors[name] == "")
        if is_unknown.any():
            count = f"{is_unknown.sum()} of {len(sectors)}"
            notices.append(f"{count} sectors have no {name}: {value} is assumed")
        sectors[name] = sectors[name].mask(is_unknown, value)
        sectors[f"knows_{name}"] = ~is_unknown
    are_unique = sectors["cell"].is_unique
    groups = sectors.groupby("site", sort=False)
    sites = [_make_site(name, groups.get_group(name), are_unique, notices) for name in kept]
    return Sites(sites, notices, centre)


def project_to_metres(
    lat: ArrayLike, lon: ArrayLike, centre: tuple[float, float]
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


def _drop_duplicates(sectors: pd.DataFrame, notices: list[str]) -> pd.DataFrame:
    """Each sector once. Raises: ConfigError for two rows that differ in what one sector is."""
    is_named = sectors["site"] != ""
    # A table with names of cells may have two carriers at one azimuth.
    keys = sectors[["site", "cell"]].assign(
        azimuth=sectors["azimuth_deg"].where(sectors["cell"] == ""),
        **{name: sectors[name].mask(is_named) for name in POSITION},
    )
    rows = pd.Series(np.arange(len(sectors)), index=sectors.index)
    first = rows.groupby([keys[name] for name in keys], dropna=False).transform("min")
    values = sectors.drop(columns="where")
    earlier = values.iloc[first].set_axis(sectors.index)
    is_equal = ((values == earlier) | (values.isna() & earlier.isna())).all(axis=1)
    for row in np.flatnonzero(~is_equal)[:1]:
        sector = sectors.iloc[row]
        what = f"cell {sector['cell']}" if sector["cell"] else f"azimuth {sector['azimuth_deg']:g}"
        raise ConfigError(
            f"{sector['where']}: {what} of {sector['site'] or 'the same position'} stands in "
            f"{sectors['where'].iloc[first.iloc[row]].split(', ')[-1]} with other values"
        )
    is_first = first == rows
    if not is_first.all():
        notices.append(f"{(~is_first).sum()} rows stand twice and count once")
    return sectors[is_first].reset_index(drop=True)


def _name_sites(sectors: pd.DataFrame) -> None:
    """Without names, sectors of one position are a site: site_1, site_2 ...; changes `sectors`."""
    unnamed = sectors[sectors["site"] == ""]
    numbers = unnamed.groupby(list(POSITION), sort=False, dropna=False).ngroup() + 1
    sectors.loc[unnamed.index, "site"] = "site_" + numbers.astype(str)


def _place(sectors: pd.DataFrame, is_geographic: bool) -> tuple[float, float] | None:
    """Adds the position of each sector in metres, east_m and north_m; returns the origin.

    Raises: ConfigError for a site that is in two places.
    """
    centre = None
    points_m = sectors[["x_m", "y_m"]].to_numpy(float)
    if is_geographic:
        lat, lon = sectors["lat"].to_numpy(float), sectors["lon"].to_numpy(float)
        centre = (float(np.median(lat)), float(np.median(lon)))
        points_m = project_to_metres(lat, lon, centre)
    sectors[["east_m", "north_m"]] = points_m
    for name, group in sectors.groupby("site", sort=False):
        extent_m = float(np.ptp(group[["east_m", "north_m"]].to_numpy(float), axis=0).max())
        if extent_m > SITE_EXTENT_M:
            raise ConfigError(
                f"{group['where'].iloc[-1]}: expected the sectors of site {name} at one place, got "
                f"places {extent_m:.0f} m apart"
            )
    return centre


def _select(sectors: pd.DataFrame, outliers: str, notices: list[str]) -> list[str]:
    """Names of the sites to use, without those too far away to belong to the network.

    The middle is the median of the positions, which outliers do not move; most often an outlier
    has a wrong or missing coordinate. Raises: ConfigError for outliers where they are refused.
    """
    positions_m = sectors.groupby("site", sort=False)[["east_m", "north_m"]].mean()
    names = list(positions_m.index)
    distance_m = np.linalg.norm(positions_m - np.median(positions_m, axis=0), axis=1)
    limit_m = max(LEAST_DISTANCE_M, TIMES_TYPICAL * float(np.median(distance_m)))
    far = [i for i in np.flatnonzero(distance_m > limit_m) if len(names) >= MIN_SITES_WITH_OUTLIERS]
    if not far:
        return names
    listed = ", ".join(f"{names[i]} ({distance_m[i] / 1000:,.0f} km)" for i in far)
    if outliers == "refuse":
        first = sectors.loc[sectors["site"] == names[far[0]], "where"].iloc[0]
        raise ConfigError(
            f"{first}: far from all other sites: {listed}; --outliers drop leaves them out, "
            "--outliers keep uses them"
        )
    verb = "left out" if outliers == "drop" else "kept"
    notices.append(f"{verb}: {listed} from the middle of all sites")
    return [name for i, name in enumerate(names) if outliers == "keep" or i not in far]


def _make_site(
    name: str, sectors: pd.DataFrame, cell_names_are_unique: bool, notices: list[str]
) -> dict[str, Any]:
    """A site as in the layout of a scenario."""
    known_m = sectors.loc[sectors["knows_height_m"], "height_m"]
    if known_m.nunique() > 1:
        notices.append(
            f"site {name}: heights from {known_m.min():g} to {known_m.max():g} m, the mean is used"
        )
    powers, tilts = (sectors[key].round(2).tolist() for key in ("power_dbm", "tilt_deg"))
    mast: dict[str, Any] = {
        "height_m": round(float((known_m if len(known_m) else sectors["height_m"]).mean()), 2),
        "azimuths_deg": _convert_azimuths(name, sectors, notices),
        "power_dbm": powers[0],
        "tilt_deg": tilts[0],
    }
    if len(set(powers)) > 1:
        mast["sector_powers_dbm"] = powers
    if len(set(tilts)) > 1:
        mast["sector_tilts_deg"] = tilts
    # The operator's names, with the site's where they repeat; numbers where there are none.
    cells = [cell or str(number) for number, cell in enumerate(sectors["cell"], start=1)]
    if not cell_names_are_unique or (sectors["cell"] == "").any():
        cells = [f"{name}_{cell}" for cell in cells]
    return {
        "x_m": round(float(sectors["east_m"].mean()), 1),
        "y_m": round(float(sectors["north_m"].mean()), 1),
        "mast": mast,
        "sla_groups": sectors["sla_group"].tolist(),
        "name": name,
        "cell_ids": cells,
    }


def _convert_azimuths(name: str, sectors: pd.DataFrame, notices: list[str]) -> list[float]:
    """Anticlockwise from east; operators count clockwise from north."""
    azimuths_deg = sectors["azimuth_deg"]
    if azimuths_deg.isna().all():
        n = len(sectors)
        notices.append(f"site {name}: no azimuths, {n} sectors at equal angles from north")
        azimuths_deg = pd.Series(np.arange(n) * 360.0 / n)
    for row in np.flatnonzero(~azimuths_deg.between(-360, 360))[:1]:
        value = azimuths_deg.iloc[row]
        raise ConfigError(
            f"{sectors['where'].iloc[row]}: expected an azimuth from 0 to 360 degrees clockwise "
            f"from north, got {'none' if np.isnan(value) else format(value, 'g')}"
        )
    return ((90.0 - azimuths_deg) % 360.0).round(2).tolist()
