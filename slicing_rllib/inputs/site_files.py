"""Reads a site table, CSV, Parquet or GeoJSON, into the sites of a scenario's layout.

What was dropped, assumed or averaged on the way is told in notices.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import ArrayLike
from pyproj import Transformer

from slicing_rllib.inputs.site_columns import (
    NAMES,
    POSITION,
    SPELLINGS,
    TEXTS,
    fill_merged_cells,
    match_columns,
    parse_degrees,
    refuse_carriers,
    refuse_several_zones,
    select_carrier,
    strip_name,
)
from slicing_rllib.inputs.text_tables import TextTable, check_size, read_text_table
from slicing_rllib.storage import read_json
from slicing_rllib.storage.errors import CONTROL, ConfigError

LIMITS_DEG = {"lat": 90.0, "lon": 180.0}
"""Largest absolute values."""
RANGES = {
    "electrical_tilt_deg": (-10.0, 20.0),
    "mechanical_tilt_deg": (-15.0, 20.0),
    "tilt_deg": (-10.0, 20.0),
    "height_m": (0.1, 1000.0),
    "power_dbm": (0.0, 60.0),
}
"""Values that antennas and masts have; those outside are in another unit."""
MAX_SECTORS = 20_000
"""Cells of the largest network that a config may have."""
GEOJSON_SUFFIXES = (".geojson", ".json")
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
    understood: dict[str, str]
    """The file's column by our name."""
    left_out: list[str]
    """Columns that are not understood."""


def read_sites(
    path: Path,
    *,
    defaults: Mapping[str, float],
    sla_group: str,
    known_groups: Sequence[str],
    outliers: str,
    columns: Mapping[str, str] | None = None,
    carrier: str | None = None,
) -> Sites:
    """The sites in a CSV, Parquet or GeoJSON file with a row per sector.

    `defaults` are the height_m, tilt_deg and power_dbm of sectors whose row does not say;
    `sla_group` is for sectors without one and must be in `known_groups`, as all others; `outliers`
    is `refuse`, `drop` or `keep`. `columns` says what the file calls ours (an empty text: it has
    none), and `carrier` is COLUMN=VALUE of the rows to take, of several carriers.
    Raises: ConfigError, one line that names the row.
    """
    is_geojson = path.suffix.lower() in GEOJSON_SUFFIXES
    table = _read_geojson(path) if is_geojson else read_text_table(path, "site table")
    if len(table.frame) > MAX_SECTORS:
        raise ConfigError(
            f"{table.where}: expected at most {MAX_SECTORS:,} sectors, got {len(table.frame):,}"
        )
    notices: list[str] = []
    if carrier is not None:
        table = select_carrier(table, carrier)
    found, left_out = match_columns(table, columns or {})
    table = fill_merged_cells(table, found, notices)
    sectors = _drop_duplicates(table, _read_sectors(table, found), notices)
    if carrier is None:
        refuse_carriers(table, sectors)
    for row in sectors.index[~sectors["sla_group"].isin(["", *known_groups])]:
        expected = f"expected an SLA group of the scenario, one of {', '.join(known_groups)}"
        table.refuse(row, f"{expected}, got {sectors['sla_group'][row]!r}")
    centre = _place(table, sectors)
    kept = _select(table, sectors, outliers, notices)
    for name, value in {**defaults, "sla_group": sla_group}.items():
        is_unknown = sectors[name].isna() | (sectors[name] == "")
        if is_unknown.any():
            count = f"{is_unknown.sum()} of {len(sectors)}"
            notices.append(f"{count} sectors have no {name}: {value} is assumed")
        sectors[name] = sectors[name].mask(is_unknown, value)
        sectors[f"knows_{name}"] = ~is_unknown
    are_unique = sectors["cell"].is_unique
    groups = sectors.groupby("site", sort=False)
    sites = [_make_site(table, name, groups.get_group(name), are_unique, notices) for name in kept]
    return Sites(sites, notices, centre, found, left_out)


def _read_geojson(path: Path) -> TextTable:
    """Properties of the points of a FeatureCollection, with `lon` and `lat` beside them."""
    where = f"site table {path}"
    try:
        content: Any = read_json(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: expected a readable GeoJSON file ({error})") from error
    features = _get(content, "features")
    if not isinstance(features, list):
        raise ConfigError(f"{where}: expected a GeoJSON FeatureCollection with a list of features")
    if not features:
        raise ConfigError(f"{where}: expected at least one sector")
    numbered = enumerate(cast("list[Any]", features), start=1)
    rows = [_read_point(f"{where}, feature {i}", feature) for i, feature in numbered]
    header = list(dict.fromkeys(name for row in rows for name in row))
    check_size(where, len(rows), len(header))
    texts = [["" if row.get(n) is None else str(row[n]).strip() for n in header] for row in rows]
    for number, row in enumerate([header, *texts]):
        if CONTROL.search("\t".join(row)):
            place = f"{where}, feature {number}" if number else where
            raise ConfigError(f"{place}: expected text without control characters")
    return TextTable(
        where=where,
        frame=pd.DataFrame(texts, columns=pd.Index(header), dtype=str),
        row_numbers=list(range(1, len(rows) + 1)),
        row_word="feature",
    )


def _get(content: Any, key: str) -> Any:
    return cast("dict[str, Any]", content).get(key) if isinstance(content, dict) else None


def _read_point(where: str, feature: Any) -> dict[str, Any]:
    geometry = _get(feature, "geometry")
    if _get(geometry, "type") != "Point":
        raise ConfigError(f"{where}: expected a Point")
    coordinates: list[Any] | None = _get(geometry, "coordinates")
    if not isinstance(coordinates, list) or len(coordinates) < 2:
        raise ConfigError(f"{where}: expected coordinates [longitude, latitude]")
    properties: dict[str, Any] | None = _get(feature, "properties") or {}
    if not isinstance(properties, dict):
        raise ConfigError(f"{where}: expected a mapping of properties")
    return {**properties, "lon": coordinates[0], "lat": coordinates[1]}


def _read_sectors(table: TextTable, found: Mapping[str, str]) -> pd.DataFrame:
    """A row per row of the table: `site`, `cell` and `sla_group`, empty where there are none; and,
    NaN where unknown, `lat` and `lon` or `x_m` and `y_m`, `azimuth_deg` (clockwise from north, as
    operators count), `height_m`, `tilt_deg` and `power_dbm`.
    """
    position = ("lat", "lon") if "lat" in found and "lon" in found else ("x_m", "y_m")
    if not {*position} <= {*found}:
        missing = "lon" if "lat" in found else "lat"
        near = difflib.get_close_matches(missing, [name.lower() for name in table.header], n=1)
        hint = f"; is it {near[0]!r}?" if near else ""
        raise ConfigError(
            f"{table.where}: expected the columns lat and lon, or x_m and y_m; "
            f"found {', '.join(table.header)}{hint}"
        )
    sectors = pd.DataFrame(index=table.frame.index)
    for name in TEXTS:
        sectors[name] = table.frame[found[name]] if name in found else ""
        for row in sectors.index[[not text.isprintable() for text in sectors[name]]]:
            table.refuse(row, "expected printable characters only", found[name])
    for name in SPELLINGS:
        if name in TEXTS:
            continue
        sectors[name] = np.nan
        # A table may have both kinds of coordinates; one of them is used.
        if name in found and (name not in POSITION or name in position):
            factor = dict([NAMES.get(strip_name(found[name]), (name, 1.0))]).get(name, 1.0)
            if name in LIMITS_DEG:
                table.frame[found[name]] = table.frame[found[name]].map(parse_degrees)
            sectors[name] = factor * table.read_numbers(found[name])
    refuse_several_zones(table)
    for name in position:
        _check_position(table, found[name], sectors[name], LIMITS_DEG.get(name, math.inf))
    parts = sectors[["electrical_tilt_deg", "mechanical_tilt_deg"]].sum(axis=1, min_count=1)
    sectors["tilt_deg"] = sectors["tilt_deg"].fillna(parts)
    is_watts = sectors["power_dbm"].isna() & sectors["power_w"].notna()
    for row in sectors.index[is_watts & (sectors["power_w"] <= 0)]:
        table.refuse(row, f"expected a power above 0 W, got {sectors['power_w'][row]:g}")
    power_mw = 1000 * sectors["power_w"].where(is_watts, 1.0)
    sectors["power_dbm"] = sectors["power_dbm"].mask(is_watts, 10 * np.log10(power_mw))
    for name, (low, high) in RANGES.items():
        values = sectors[name]
        for row in sectors.index[(values < low) | (values > high)]:
            tenths = values[row] / 10
            hint = f"; in tenths it would be {tenths:g}" if high >= tenths > low else ""
            table.refuse(
                row, f"expected {name} from {low:g} to {high:g}, got {values[row]:g}{hint}"
            )
    return sectors.drop(columns=["electrical_tilt_deg", "mechanical_tilt_deg", "power_w"])


def _check_position(table: TextTable, column: str, values: pd.Series, limit: float) -> None:
    for row in values.index[values.isna()]:
        table.refuse(row, "expected a position, found none", column)
    for row in values.index[values.abs() > limit]:
        table.refuse(
            row,
            f"expected degrees from -{limit:g} to {limit:g}, got {values[row]:g}; positions in "
            "metres belong into columns x_m and y_m",
            column,
        )


def _drop_duplicates(table: TextTable, sectors: pd.DataFrame, notices: list[str]) -> pd.DataFrame:
    """Each sector once. Raises: ConfigError for two rows that differ in what one sector is."""
    is_named = sectors["site"] != ""
    # A table with names of cells may have two carriers at one azimuth.
    keys = sectors[["site", "cell"]].assign(
        azimuth=sectors["azimuth_deg"].where(sectors["cell"] == ""),
        **{name: sectors[name].mask(is_named) for name in POSITION},
    )
    rows = sectors.index.to_series()
    first = rows.groupby([keys[name] for name in keys], dropna=False).transform("min")
    earlier = sectors.loc[first].set_axis(sectors.index)
    is_equal = ((sectors == earlier) | (sectors.isna() & earlier.isna())).all(axis=1)
    for row in sectors.index[~is_equal]:
        site, cell, azimuth_deg = sectors.loc[row, ["site", "cell", "azimuth_deg"]]
        what = f"cell {cell}" if cell else f"azimuth {azimuth_deg:g}"
        place = f"{table.row_word} {table.row_numbers[first[row]]}"
        table.refuse(
            row, f"{what} of {site or 'the same position'} stands in {place} with other values"
        )
    n_repeated = int((first != rows).sum())
    if n_repeated:
        notices.append(f"{n_repeated} rows stand twice and count once")
    return sectors[first == rows].copy()


def _place(table: TextTable, sectors: pd.DataFrame) -> tuple[float, float] | None:
    """Adds names of sites, and positions in metres: east_m and north_m. Returns the origin.

    Without names, sectors of one position are a site: site_1, site_2 ... Raises: ConfigError for a
    site that is in two places.
    """
    unnamed = sectors[sectors["site"] == ""]
    numbers = unnamed.groupby(POSITION, sort=False, dropna=False).ngroup() + 1
    sectors.loc[unnamed.index, "site"] = "site_" + numbers.astype(str)
    centre = None
    points_m = sectors[["x_m", "y_m"]].to_numpy(float)
    if sectors["lat"].notna().all():
        lat, lon = sectors["lat"].to_numpy(float), sectors["lon"].to_numpy(float)
        centre = (float(np.median(lat)), float(np.median(lon)))
        points_m = project_to_metres(lat, lon, centre)
    sectors[["east_m", "north_m"]] = points_m
    for name, group in sectors.groupby("site", sort=False):
        extent_m = float(np.ptp(group[["east_m", "north_m"]].to_numpy(float), axis=0).max())
        if extent_m > SITE_EXTENT_M:
            table.refuse(
                group.index[-1],
                f"expected the sectors of site {name} at one place, got places {extent_m:.0f} m "
                "apart",
            )
    return centre


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


def _select(
    table: TextTable, sectors: pd.DataFrame, outliers: str, notices: list[str]
) -> list[str]:
    """Names of the sites to use, without those too far away to belong to the network.

    The middle is the median of the positions, which outliers do not move; most often an outlier
    has a wrong or missing coordinate. Raises: ConfigError for outliers where they are refused.
    """
    positions_m = sectors.groupby("site", sort=False)[["east_m", "north_m"]].mean()
    names = list(positions_m.index)
    distance_m = np.linalg.norm(positions_m - np.median(positions_m, axis=0), axis=1)
    limit_m = max(LEAST_DISTANCE_M, TIMES_TYPICAL * float(np.median(distance_m)))
    far = {names[i]: distance_m[i] / 1000 for i in np.flatnonzero(distance_m > limit_m)}
    if not far or len(names) < MIN_SITES_WITH_OUTLIERS:
        return names
    listed = ", ".join(f"{name} ({distance_km:,.0f} km)" for name, distance_km in far.items())
    if outliers == "refuse":
        table.refuse(
            sectors.index[sectors["site"] == next(iter(far))][0],
            f"far from all other sites: {listed}; --outliers drop leaves them out, --outliers keep "
            "uses them",
        )
    verb = "left out" if outliers == "drop" else "kept"
    notices.append(f"{verb}: {listed} from the middle of all sites")
    return [name for name in names if outliers == "keep" or name not in far]


def _make_site(
    table: TextTable,
    name: str,
    sectors: pd.DataFrame,
    cell_names_are_unique: bool,
    notices: list[str],
) -> dict[str, Any]:
    """A site as in the layout of a scenario."""
    known_m = sectors.loc[sectors["knows_height_m"], "height_m"]
    if known_m.nunique() > 1:
        notices.append(
            f"site {name}: heights from {known_m.min():g} to {known_m.max():g} m, the mean is used"
        )
    # Anticlockwise from east in a layout; operators count clockwise from north.
    azimuths_deg = sectors["azimuth_deg"]
    if azimuths_deg.isna().all():
        n = len(sectors)
        notices.append(f"site {name}: no azimuths, {n} sectors at equal angles from north")
        azimuths_deg = pd.Series(np.arange(n) * 360.0 / n)
    for row in azimuths_deg.index[~azimuths_deg.between(-360, 360)]:
        got = "none" if azimuths_deg.isna()[row] else f"{azimuths_deg[row]:g}"
        expected = "expected an azimuth from 0 to 360 degrees clockwise from north"
        table.refuse(row, f"{expected}, got {got}")
    powers, tilts = (sectors[key].round(2).tolist() for key in ("power_dbm", "tilt_deg"))
    mast: dict[str, Any] = {
        "height_m": round(float((known_m if len(known_m) else sectors["height_m"]).mean()), 2),
        "azimuths_deg": ((90.0 - azimuths_deg) % 360.0).round(2).tolist(),
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
