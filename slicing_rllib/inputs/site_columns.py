"""The columns of a site table: which is which, what spreadsheets leave blank, and carriers.

What looks like one of our columns and is not understood is refused, never replaced by a default.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from slicing_rllib.inputs.text_tables import TextTable
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
LOOK_ALIKES = re.compile(
    r"azi|bearing|tilt|^ret|power|pwr|dbm|^cell|^site|sector|name$|^enb|^gnb|^lat|^lon|height|"
    r"hoehe|höhe"
)
"""Columns that look like ours, spelled as in `SPELLINGS`: the table is refused where nobody names
them."""
IDENTIFIERS = re.compile(r"(id|code|nr|number|no)$|^(earfcn|arfcn|pci|tac|lac|cgi|ecgi)")
"""Columns of numbers of things, which nobody takes for a name."""
DMS = (
    r"(?P<d>\d{1,3})°\s*((?P<m>\d{1,2})['\u2032]\s*)?"
    r"((?P<s>[\d.]+)(\"|\u2033|'')\s*)?(?P<side>[NSEW])"
)
"""Degrees, minutes, seconds and the side of equator or Greenwich."""
SAME_DIRECTION_DEG = 5.0
"""Sectors of a site whose azimuths differ by less are carriers of one sector."""
TEXTS = ("site", "cell", "sla_group")
"""Columns that are no numbers."""
POSITION = ["lat", "lon", "x_m", "y_m"]


def strip_name(column: str) -> str:
    return re.sub(r"[^a-zäöüß0-9]", "", column.lower())


def match_columns(table: TextTable, columns: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """By our name: the file's column; and the columns that are not understood.

    Raises: ConfigError for a column that looks like one of ours and is not understood.
    """
    for name, column in columns.items():
        if name not in SPELLINGS or column not in ("", *table.header):
            raise ConfigError(
                f"{table.where}: columns: expected one of {', '.join(SPELLINGS)} with a column of "
                f"the file, got {name}={column!r}"
            )
    found = {name: column for name, column in columns.items() if column}
    left_out: list[str] = []
    for column in table.header:
        if column in found.values():
            continue
        stripped = strip_name(column)
        name = NAMES[stripped][0] if stripped in NAMES else None
        if name in columns:
            left_out.append(column)
            continue
        looks = LOOK_ALIKES.search(stripped) and not IDENTIFIERS.search(stripped)
        if name is None and looks and not columns:
            raise ConfigError(
                f"{table.where}: the column {column!r} is not understood; --set "
                f"columns.tilt_deg={column}, for example, says which one it is, and --set "
                "columns.tilt_deg= that the file has none"
            )
        if name in found:
            raise ConfigError(
                f"{table.where}: the columns {found[name]!r} and {column!r} both mean {name}"
            )
        if name is None:
            left_out.append(column)
        else:
            found[name] = column
    return found, left_out


def select_carrier(table: TextTable, carrier: str) -> TextTable:
    """The rows of one carrier. Raises: ConfigError for a column or value that the table lacks."""
    column, _, value = carrier.partition("=")
    if column not in table.header:
        expected = f"expected COLUMN=VALUE with one of {', '.join(table.header)}"
        raise ConfigError(f"{table.where}: --carrier: {expected}, got {carrier!r}")
    is_chosen = table.frame[column] == value
    if not is_chosen.any():
        values = ", ".join(table.frame[column].unique()[:6])
        raise ConfigError(f"{table.where}: --carrier: expected {column}={values}, got {carrier!r}")
    rows = np.flatnonzero(is_chosen)
    return replace(
        table,
        frame=table.frame.iloc[rows].reset_index(drop=True),
        row_numbers=[table.row_numbers[row] for row in rows],
    )


def fill_merged_cells(table: TextTable, found: Mapping[str, str], notices: list[str]) -> TextTable:
    """Blanks below a value of the same site are a spreadsheet's merged cells, and filled with it.

    Raises: ConfigError for a row that has neither a name of its site nor the position of the row
    above.
    """
    if "site" not in found:
        return table
    frame = table.frame.copy()
    names = frame[found["site"]]
    blank = names == ""
    if not blank.any() or blank.all():
        return table
    position = [found[name] for name in POSITION if name in found]
    moved = ((frame[position] != frame[position].shift()) & (frame[position] != "")).any(axis=1)
    for row in frame.index[blank & (moved | (frame.index == 0))]:
        table.refuse(row, "expected the name of a site, found none", found["site"])
    site_number = (~blank).cumsum()
    filled = [c for ours, c in found.items() if ours not in ("cell", "azimuth_deg", "sla_group")]
    for column in filled:
        is_first = ~blank | (frame[column] != "")
        above = frame[column].where(is_first).groupby(site_number).ffill()
        # Where a site says a value twice, a blank below is one that is missing.
        counts = (frame[column] != "").groupby(site_number).transform("sum")
        frame[column] = frame[column].where(~blank | (counts != 1), above)
    notices.append(f"{int(blank.sum())} rows have no site: that of the row above is taken")
    return replace(table, frame=frame)


def refuse_carriers(table: TextTable, sectors: pd.DataFrame) -> None:
    """Raises: ConfigError where two cells of a site look the same way: they do not interfere."""
    named = sectors[sectors["site"] != ""]
    for site, group in named.groupby("site", sort=False):
        azimuths = group["azimuth_deg"].dropna() % 360
        for number, row in enumerate(azimuths.index):
            turned = (azimuths.iloc[:number] - azimuths[row] + 180) % 360 - 180
            same = turned.index[turned.abs() < SAME_DIRECTION_DEG]
            if len(same):
                cells = " and ".join(map(str, group.loc[[same[0], row], "cell"]))
                table.refuse(
                    row,
                    f"site {site}: {cells or 'two sectors'} look to {azimuths[row]:g} degrees, as "
                    "carriers of one sector do, which would interfere here; --carrier COLUMN=VALUE "
                    "takes one of them",
                )


def parse_degrees(text: str) -> str:
    """Degrees, minutes and seconds, `48°08'13.9"N`, as decimal degrees; other texts as they are."""
    match = re.fullmatch(DMS, text)
    if match is None:
        return text
    degrees, minutes, seconds = (float(match[name] or 0) for name in ("d", "m", "s"))
    sign = -1 if match["side"] in "SW" else 1
    return repr(sign * (degrees + minutes / 60 + seconds / 3600))


def refuse_several_zones(table: TextTable) -> None:
    """Raises: ConfigError for eastings of several UTM zones, which cannot be compared."""
    for column in table.header:
        if strip_name(column) in ("zone", "utmzone", "utm") and table.frame[column].nunique() > 1:
            row = int(np.flatnonzero(table.frame[column] != table.frame[column].iloc[0])[0])
            table.refuse(row, "expected one UTM zone; lat and lon work over several", column)
