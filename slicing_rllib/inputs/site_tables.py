"""The columns of a site table, and the spellings under which they are found.

Reads the sectors of a site table.
"""

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from slicing_rllib.inputs.tables import parse_number, read_text_table
from slicing_rllib.storage.errors import ConfigError


class Column(NamedTuple):
    """A quantity of a sector."""

    spellings: str
    """Separated by blanks, in lower case, without separators between words."""
    factor: float = 1.0
    """From the file's unit to ours."""


COLUMNS: dict[str, tuple[Column, ...]] = {
    "site": (Column("site siteid sitename enodeb enodebid gnb gnodeb name"),),
    "cell": (Column("cell cellid cellname sector sectorid sectorname eci nci"),),
    "lat": (Column("lat latitude latdeg latwgs84 breite breitengrad"),),
    "lon": (Column("lon lng long longitude londeg lonwgs84 laenge längengrad"),),
    "x_m": (Column("xm x easting eastingm east"), Column("xkm", 1000.0)),
    "y_m": (Column("ym y northing northingm north"), Column("ykm", 1000.0)),
    "azimuth_deg": (Column("azimuthdeg azimuth azi az bearing bearingdeg heading dir"),),
    "height_m": (
        Column("heightm height antennaheight antennaheightm agl hba höhe hoehe"),
        Column("heightft antennaheightft", 0.3048),
    ),
    "tilt_deg": (Column("tiltdeg tilt totaltilt downtilt downtiltdeg"),),
    "electrical_tilt_deg": (Column("electricaltilt electricaltiltdeg etilt edt ret retdeg"),),
    "mechanical_tilt_deg": (Column("mechanicaltilt mechanicaltiltdeg mtilt mdt"),),
    "power_dbm": (Column("powerdbm power txpower txpowerdbm pmax maxtxpower"),),
    "power_w": (Column("powerw txpowerw powerwatt powerwatts"),),
    "sla_group": (Column("slagroup sla group slagroups class"),),
}
"""By our name: the columns that give it, first choice first."""


def match_columns(
    where: str, header: Sequence[str]
) -> tuple[dict[str, tuple[str, float]], list[str]]:
    """By our name: the file's column and its factor; and the columns that are not understood.

    Raises: ConfigError where two columns mean the same.
    """
    found: dict[str, tuple[str, float]] = {}
    unknown: list[str] = []
    for column in header:
        match = _find(column)
        if match is None:
            unknown.append(column)
            continue
        name, factor = match
        if name in found:
            raise ConfigError(
                f"{where}: the columns {found[name][0]!r} and {column!r} both mean {name}"
            )
        found[name] = (column, factor)
    return found, unknown


def suggest_column(name: str, header: Sequence[str]) -> str:
    """The end of a message about a column that is missing: what the file has instead."""
    near = difflib.get_close_matches(name, [column.lower() for column in header], n=1)
    hint = f"; is it {near[0]!r}?" if near else ""
    return f"found {', '.join(header)}{hint}"


def _find(column: str) -> tuple[str, float] | None:
    bare = re.sub(r"[^a-zäöüß0-9]", "", column.lower())
    for name, options in COLUMNS.items():
        for option in options:
            if bare in option.spellings.split():
                return name, option.factor
    return None


GEOJSON_SUFFIXES = (".geojson", ".json")
COORDINATES = {"lat": 90.0, "lon": 180.0}
"""Largest absolute values, in degrees."""
TEXTS = ("site", "cell", "sla_group")
"""Columns that are no numbers."""


@dataclass(frozen=True, kw_only=True)
class Sector:
    """A row of a site table; None where it has no such value."""

    where: str
    """What messages call the row: file and line, or file and feature."""
    site: str | None = None
    cell: str | None = None
    lat: float | None = None
    lon: float | None = None
    x_m: float | None = None
    y_m: float | None = None
    azimuth_deg: float | None = None
    """Clockwise from north, as operators count."""
    height_m: float | None = None
    tilt_deg: float | None = None
    power_dbm: float | None = None
    sla_group: str | None = None

    @property
    def position(self) -> tuple[float | None, ...]:
        """Where the sector is, in the units of the file."""
        return (self.lat, self.lon, self.x_m, self.y_m)


class SectorTable(NamedTuple):
    """What a file says."""

    sectors: list[Sector]
    is_geographic: bool
    """Whether positions are latitude and longitude rather than metres."""
    understood: dict[str, str]
    """The file's column by our name."""
    left_out: list[str]
    """Columns that are not understood."""


class _Row(NamedTuple):
    where: str
    values: Mapping[str, Any]
    decimal: str


def read_sectors(path: Path) -> SectorTable:
    """The sectors in a CSV or GeoJSON file.

    Raises: ConfigError, one line with the file and the line or feature that is wrong.
    """
    is_geojson = path.suffix.lower() in GEOJSON_SUFFIXES
    header, rows = _read_geojson(path) if is_geojson else _read_csv(path)
    found, unknown = match_columns(str(path), header)
    is_geographic = _choose_coordinates(path, found, header)
    sectors = [_make_sector(row, found, is_geographic) for row in rows]
    if not sectors:
        raise ConfigError(f"{path}: expected at least one sector")
    understood = {name: column for name, (column, _) in found.items()}
    return SectorTable(sectors, is_geographic, understood, unknown)


def _read_csv(path: Path) -> tuple[list[str], list[_Row]]:
    try:
        table = read_text_table(path, "site table")
    except ValueError as error:
        raise ConfigError(str(error)) from error
    rows = [
        _Row(f"{path}, line {line}", dict(zip(table.header, row, strict=True)), table.decimal)
        for line, row in zip(table.lines, table.rows, strict=True)
    ]
    return list(table.header), rows


def _read_geojson(path: Path) -> tuple[list[str], list[_Row]]:
    """Properties of the points of a FeatureCollection, with `lon` and `lat` beside them."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: expected a readable GeoJSON file ({error})") from error
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise ConfigError(f"{path}: expected a GeoJSON FeatureCollection with a list of features")
    rows = list(_iterate_points(path, features))
    header = list(dict.fromkeys(name for row in rows for name in row.values))
    return header, rows


def _iterate_points(path: Path, features: list[Any]) -> Iterator[_Row]:
    for number, feature in enumerate(features, start=1):
        where = f"{path}, feature {number}"
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        if not isinstance(geometry, dict) or geometry.get("type") != "Point":
            raise ConfigError(f"{where}: expected a Point")
        coordinates = geometry.get("coordinates")
        if not isinstance(coordinates, list) or len(coordinates) < 2:
            raise ConfigError(f"{where}: expected coordinates [longitude, latitude]")
        properties = feature.get("properties") or {}
        yield _Row(where, {**properties, "lon": coordinates[0], "lat": coordinates[1]}, ".")


def _choose_coordinates(path: Path, found: Mapping[str, Any], header: list[str]) -> bool:
    """Whether the table has latitude and longitude. Raises: ConfigError without any position."""
    if "lat" in found and "lon" in found:
        return True
    if "x_m" in found and "y_m" in found:
        return False
    missing = "lon" if "lat" in found else "lat"
    raise ConfigError(
        f"{path}: expected the columns lat and lon, or x_m and y_m; "
        f"{suggest_column(missing, header)}"
    )


def _make_sector(row: _Row, found: Mapping[str, tuple[str, float]], is_geographic: bool) -> Sector:
    numbers = {
        name: _read_number(row, column, factor)
        for name, (column, factor) in found.items()
        if name not in TEXTS
    }
    coordinates = ("lat", "lon") if is_geographic else ("x_m", "y_m")
    for name in coordinates:
        _check_coordinate(row, name, found[name][0], numbers[name])
    # A table may have both kinds of coordinates; one of them is used.
    position = {name: numbers[name] for name in coordinates}
    return Sector(
        where=row.where,
        site=_read_text(row, found, "site"),
        cell=_read_text(row, found, "cell"),
        sla_group=_read_text(row, found, "sla_group"),
        lat=position.get("lat"),
        lon=position.get("lon"),
        x_m=position.get("x_m"),
        y_m=position.get("y_m"),
        azimuth_deg=numbers.get("azimuth_deg"),
        height_m=numbers.get("height_m"),
        tilt_deg=_combine_tilt(numbers),
        power_dbm=_combine_power(row, numbers),
    )


def _read_text(row: _Row, found: Mapping[str, tuple[str, float]], name: str) -> str | None:
    value = row.values.get(found[name][0]) if name in found else None
    return None if value is None else str(value).strip() or None


def _read_number(row: _Row, column: str, factor: float) -> float | None:
    """The value in our unit; None for a blank."""
    value = row.values.get(column)
    if value is None:
        return None
    number = parse_number(str(value), row.decimal)
    if number is None:
        raise ConfigError(f"{row.where}, column {column}: expected a number, got {value!r}")
    return None if math.isnan(number) else number * factor


def _check_coordinate(row: _Row, name: str, column: str, value: float | None) -> None:
    if value is None:
        raise ConfigError(f"{row.where}, column {column}: expected a position, found none")
    limit = COORDINATES.get(name, math.inf)
    if abs(value) > limit:
        raise ConfigError(
            f"{row.where}, column {column}: expected degrees from -{limit:g} to {limit:g}, got "
            f"{value:g}; positions in metres belong into columns x_m and y_m"
        )


def _combine_tilt(numbers: Mapping[str, float | None]) -> float | None:
    """The total tilt, or the sum of electrical and mechanical tilt."""
    if numbers.get("tilt_deg") is not None:
        return numbers["tilt_deg"]
    parts = [numbers.get(name) for name in ("electrical_tilt_deg", "mechanical_tilt_deg")]
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def _combine_power(row: _Row, numbers: Mapping[str, float | None]) -> float | None:
    watts = numbers.get("power_w")
    if numbers.get("power_dbm") is not None or watts is None:
        return numbers.get("power_dbm")
    if watts <= 0:
        raise ConfigError(f"{row.where}: expected a power above 0 W, got {watts:g}")
    return 10 * math.log10(watts * 1000)
