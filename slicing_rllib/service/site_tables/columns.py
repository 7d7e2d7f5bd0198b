"""The columns of a site table, and the spellings under which they are found."""

import difflib
import re
from collections.abc import Sequence
from typing import NamedTuple

from slicing_rllib.service.errors import ConfigError


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
