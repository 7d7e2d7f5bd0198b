"""Reads a site table, CSV, Parquet or GeoJSON, into a plain table of sectors in our units."""

import difflib
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from slicing_rllib.inputs.text_tables import MAX_BYTES, TextTable, read_text_table
from slicing_rllib.storage import read_bounded
from slicing_rllib.storage.errors import ConfigError

SPELLINGS: dict[str, dict[str, float]] = {
    "site": {"site siteid sitename enodeb enodebid gnb gnodeb name": 1.0},
    "cell": {"cell cellid cellname sector sectorid sectorname eci nci": 1.0},
    "lat": {"lat latitude latdeg latwgs84 breite breitengrad": 1.0},
    "lon": {"lon lng long longitude londeg lonwgs84 laenge längengrad": 1.0},
    "x_m": {"xm x easting eastingm east": 1.0, "xkm": 1000.0},
    "y_m": {"ym y northing northingm north": 1.0, "ykm": 1000.0},
    "azimuth_deg": {"azimuthdeg azimuth azi az bearing bearingdeg heading dir": 1.0},
    "height_m": {
        "heightm height antennaheight antennaheightm agl hba höhe hoehe": 1.0,
        "heightft antennaheightft": 0.3048,
    },
    "tilt_deg": {"tiltdeg tilt totaltilt downtilt downtiltdeg": 1.0},
    "electrical_tilt_deg": {"electricaltilt electricaltiltdeg etilt edt ret retdeg": 1.0},
    "mechanical_tilt_deg": {"mechanicaltilt mechanicaltiltdeg mtilt mdt": 1.0},
    "power_dbm": {"powerdbm power txpower txpowerdbm pmax maxtxpower": 1.0},
    "power_w": {"powerw txpowerw powerwatt powerwatts": 1.0},
    "sla_group": {"slagroup sla group slagroups class": 1.0},
}
"""By our name: how files spell it, in lower case and without separators between words, and the
factor from the file's unit to ours."""
NAMES = {
    spelling: (name, factor)
    for name, options in SPELLINGS.items()
    for spellings, factor in options.items()
    for spelling in spellings.split()
}
TEXTS = ("site", "cell", "sla_group")
"""Columns that are no numbers."""
POSITION = ("lat", "lon", "x_m", "y_m")
LIMITS_DEG = {"lat": 90.0, "lon": 180.0}
"""Largest absolute values."""
RANGES = {"height_m": (0.1, 1000.0), "tilt_deg": (-10.0, 20.0), "power_dbm": (0.0, 60.0)}
"""Values that antennas and masts have; those outside are in another unit."""
GEOJSON_SUFFIXES = (".geojson", ".json")


class SectorTable(NamedTuple):
    """What a file says."""

    sectors: pd.DataFrame
    """A row per sector: `where` (what messages call the row); `site`, `cell` and `sla_group`, empty
    where there are none; and, NaN where unknown, `lat` and `lon` or `x_m` and `y_m`, `azimuth_deg`
    (clockwise from north, as operators count), `height_m`, `tilt_deg` and `power_dbm`."""
    is_geographic: bool
    """Whether positions are latitude and longitude rather than metres."""
    understood: dict[str, str]
    """The file's column by our name."""
    left_out: list[str]
    """Columns that are not understood."""


def read_sectors(path: Path) -> SectorTable:
    """The sectors in a CSV, Parquet or GeoJSON file.

    Raises: ConfigError, one line with the file and the line or feature that is wrong.
    """
    try:
        if path.suffix.lower() in GEOJSON_SUFFIXES:
            table = _read_geojson(path)
        else:
            table = read_text_table(path, "site table")
        return _read_table(table)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _read_geojson(path: Path) -> TextTable:
    """Properties of the points of a FeatureCollection, with `lon` and `lat` beside them."""
    where = f"site table {path}"
    try:
        content: Any = json.loads(read_bounded(path, MAX_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: expected a readable GeoJSON file ({error})") from error
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise ConfigError(f"{where}: expected a GeoJSON FeatureCollection with a list of features")
    if not features:
        raise ConfigError(f"{where}: expected at least one sector")
    rows = [_read_point(f"{where}, feature {i}", f) for i, f in enumerate(features, start=1)]
    header = list(dict.fromkeys(name for row in rows for name in row))
    texts = [["" if row.get(n) is None else str(row[n]).strip() for n in header] for row in rows]
    return TextTable(
        where=where,
        frame=pd.DataFrame(texts, columns=pd.Index(header), dtype=str),
        row_numbers=list(range(1, len(rows) + 1)),
        row_word="feature",
    )


def _read_point(where: str, feature: Any) -> dict[str, Any]:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    if not isinstance(geometry, dict) or geometry.get("type") != "Point":
        raise ConfigError(f"{where}: expected a Point")
    coordinates = geometry.get("coordinates")
    if not isinstance(coordinates, list) or len(coordinates) < 2:
        raise ConfigError(f"{where}: expected coordinates [longitude, latitude]")
    properties = feature.get("properties") or {}
    if not isinstance(properties, dict):
        raise ConfigError(f"{where}: expected a mapping of properties")
    return {**properties, "lon": coordinates[0], "lat": coordinates[1]}


def _read_table(table: TextTable) -> SectorTable:
    found, left_out = _match_columns(table)
    is_geographic = "lat" in found and "lon" in found
    position = ("lat", "lon") if is_geographic else ("x_m", "y_m")
    if not {*position} <= {*found}:
        missing = "lon" if "lat" in found else "lat"
        near = difflib.get_close_matches(missing, [name.lower() for name in table.header], n=1)
        hint = f"; is it {near[0]!r}?" if near else ""
        raise ConfigError(
            f"{table.where}: expected the columns lat and lon, or x_m and y_m; "
            f"found {', '.join(table.header)}{hint}"
        )
    sectors = pd.DataFrame({"where": [table.locate(row) for row in range(len(table.frame))]})
    for name in TEXTS:
        sectors[name] = table.frame[found[name]] if name in found else ""
        for row in np.flatnonzero([not text.isprintable() for text in sectors[name]])[:1].tolist():
            raise ConfigError(
                f"{table.locate(row, found[name])}: expected printable characters only"
            )
    numbers: dict[str, Any] = dict.fromkeys(SPELLINGS, np.full(len(sectors), np.nan))
    for name, column in found.items():
        if name not in TEXTS:
            numbers[name] = table.read_numbers(column) * NAMES[_strip(column)][1]
    for name in position:
        _check_position(table, found[name], numbers[name], LIMITS_DEG.get(name, math.inf))
    # A table may have both kinds of coordinates; one of them is used.
    for name in POSITION:
        sectors[name] = numbers[name] if name in position else np.nan
    for name in ("azimuth_deg", "height_m"):
        sectors[name] = numbers[name]
    parts = pd.DataFrame({n: numbers[n] for n in ("electrical_tilt_deg", "mechanical_tilt_deg")})
    sectors["tilt_deg"] = pd.Series(numbers["tilt_deg"]).fillna(parts.sum(axis=1, min_count=1))
    sectors["power_dbm"] = _combine_power(table, numbers["power_dbm"], numbers["power_w"])
    for name, (low, high) in RANGES.items():
        values = sectors[name].to_numpy(float)
        for row in np.flatnonzero((values < low) | (values > high))[:1].tolist():
            tenths = values[row] / 10
            hint = f"; in tenths it would be {tenths:g}" if high >= tenths > low else ""
            raise ConfigError(
                f"{table.locate(row)}: expected {name} from {low:g} to {high:g}, got "
                f"{values[row]:g}{hint}"
            )
    return SectorTable(sectors, is_geographic, found, left_out)


def _match_columns(table: TextTable) -> tuple[dict[str, str], list[str]]:
    """By our name: the file's column; and the columns that are not understood.

    Raises: ConfigError where two columns mean the same.
    """
    found: dict[str, str] = {}
    unknown: list[str] = []
    for column in table.header:
        name, _ = NAMES.get(_strip(column), (None, 1.0))
        if name is None:
            unknown.append(column)
        elif name in found:
            raise ConfigError(
                f"{table.where}: the columns {found[name]!r} and {column!r} both mean {name}"
            )
        else:
            found[name] = column
    return found, unknown


def _strip(column: str) -> str:
    return re.sub(r"[^a-zäöüß0-9]", "", column.lower())


def _check_position(table: TextTable, column: str, values: np.ndarray, limit: float) -> None:
    for row in np.flatnonzero(np.isnan(values))[:1].tolist():
        raise ConfigError(f"{table.locate(row, column)}: expected a position, found none")
    for row in np.flatnonzero(np.abs(values) > limit)[:1].tolist():
        raise ConfigError(
            f"{table.locate(row, column)}: expected degrees from -{limit:g} to {limit:g}, got "
            f"{values[row]:g}; positions in metres belong into columns x_m and y_m"
        )


def _combine_power(table: TextTable, power_dbm: np.ndarray, power_w: np.ndarray) -> np.ndarray:
    """In dBm, from the column in watts where the one in dBm is blank."""
    is_watts = np.isnan(power_dbm) & ~np.isnan(power_w)
    for row in np.flatnonzero(is_watts & (power_w <= 0))[:1].tolist():
        raise ConfigError(f"{table.locate(row)}: expected a power above 0 W, got {power_w[row]:g}")
    return np.where(is_watts, 10 * np.log10(np.where(is_watts, power_w, 1.0) * 1000), power_dbm)
