"""Site tables as operators have them: read right, or refused by one line."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slicing_rllib.cli.main import run
from slicing_rllib.inputs.site_files import project_to_metres
from slicing_rllib.radio import TraceMask
from slicing_rllib.runs.config_loading import load_config

PLAIN = """site,lat,lon,azimuth_deg,height_m,tilt_deg,power_dbm,sla_group
M1,48.1351,11.5820,0,30,6,46,A
M1,48.1351,11.5820,120,30,8,43,B
M2,48.1374,11.5755,240,25,8,46,A
"""


@pytest.fixture
def convert(tmp_path: Path, capsys) -> Any:
    """Runs `scenario from-sites` on a file; its exit code, its result and its message."""

    def run_command(name: str, content: str, *arguments: str) -> tuple[int, Any, str]:
        (tmp_path / name).write_text(content, encoding="utf-8")
        code = run(["scenario", "from-sites", str(tmp_path / name), *arguments, "--json"])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if code == 0 else None, printed.err

    return run_command


def load_sites(found: dict[str, Any]) -> Any:
    return load_config(found["config"]).scenario.layout.sites


def test_a_row_per_sector_becomes_sites_in_metres(convert):
    """A degree of latitude is 111 km: .0023 degrees are 256 m. Azimuths count from east here."""
    code, found, _ = convert("sites.csv", PLAIN)
    first, second = load_sites(found)
    assert code == 0
    assert (first.name, first.cell_ids, first.sla_groups) == ("M1", ("M1_1", "M1_2"), ("A", "B"))
    assert first.mast.azimuths_deg == (90.0, 330.0)
    assert (first.mast.powers_dbm, first.mast.tilts_deg) == ((46.0, 43.0), (6.0, 8.0))
    assert second.y_m - first.y_m == pytest.approx(256, abs=1)
    assert second.x_m - first.x_m == pytest.approx(-484, abs=1)
    assert found["cells"] == {"cell_1": "M1_1", "cell_2": "M1_2", "cell_3": "M2_1"}
    assert Path(found["picture"]).read_bytes().startswith(b"\x89PNG")


def test_a_network_gets_the_traffic_that_was_checked(convert, tmp_path, capsys):
    """Paths in settings and config start at their own folders, which differ here."""
    (tmp_path / "data").mkdir()
    week, settings = tmp_path / "data" / "week.csv", tmp_path / "data" / "traffic.yaml"
    week.write_text("time;a;b;c;d\n2025-03-03 01:00;10,5;20;30;40\n2025-03-03 01:30;5;5;5;5\n")
    columns = [f"--set=columns.slice_{i}={name}" for i, name in enumerate("abcd", start=1)]
    check = ["traffic", "check", str(week), *columns, "--set=unit=percent", "--out", str(settings)]
    assert run([*check, "--json"]) == 0
    capsys.readouterr()
    code, found, _ = convert(
        "plain.csv", PLAIN, "--traffic", str(settings), "--learns-like", "quick"
    )

    assert code == 0
    config = load_config(found["config"])
    mask = config.scenario.mask
    assert isinstance(mask, TraceMask)
    assert Path(mask.path).resolve() == week.resolve()
    assert (mask.unit, mask.columns["slice_2"]) == ("percent", "b")
    assert config.learning.actor_objective == "counterfactual"
    assert config.env.deployments == ()
    assert "path: data/week.csv" in Path(found["config"]).read_text()


def test_other_spellings_units_and_decimal_commas_are_understood(convert):
    """40 W are 46.02 dBm; electrical and mechanical tilt add up; sector numbers repeat per site."""
    text = (
        "\ufeffSite ID;Sector;Latitude;Longitude;Azimuth;Height (ft);E-Tilt;M-Tilt;TX Power (W)\n"
        "M1;1;48,1351;11,5820;0;100;4;2;40\nM2;1;48,1374;11,5755;0;100;4;2;40\n"
    )
    code, found, message = convert("sites.csv", text)
    assert code == 0, message
    mast = load_sites(found)[0].mast
    assert (mast.height_m, mast.tilt_deg, mast.power_dbm) == (30.48, 6.0, 46.02)
    assert list(found["cells"].values()) == ["M1_1", "M2_1"]
    assert "2 of 2 sectors have no sla_group: A is assumed" in found["notices"]


def test_geojson_points_are_read(convert):
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [lon, 48.1351]},
            "properties": {"site": name, "azimuth": 90, "group": "B"},
        }
        for name, lon in (("M1", 11.582), ("M2", 11.5755))
    ]
    content = json.dumps({"type": "FeatureCollection", "features": features})
    code, found, _ = convert("sites.geojson", content)
    first, second = load_sites(found)
    assert code == 0
    assert first.x_m - second.x_m == pytest.approx(484, abs=1)
    assert (first.y_m, first.mast.azimuths_deg, first.sla_groups) == (0.0, (0.0,), ("B",))


def test_a_table_in_metres_without_names_groups_rows_by_position(convert):
    code, found, _ = convert("sites.csv", "x,y,azi\n0,0,0\n0,0,120\n500,0,\n")
    first, second = load_sites(found)
    assert code == 0
    assert (first.name, len(first.sla_groups)) == ("site_1", 2)
    assert (second.x_m, second.mast.azimuths_deg) == (500.0, (90.0,))
    assert "site site_2: no azimuths, 1 sectors at equal angles from north" in found["notices"]


def test_equal_rows_count_once_and_are_told(convert):
    code, found, _ = convert("sites.csv", PLAIN + PLAIN.splitlines()[-1] + "\n")
    assert (code, len(found["cells"])) == (0, 3)
    assert "1 rows stand twice and count once" in found["notices"]


FAR = PLAIN + "".join(f"M{i},48.14,11.58{i},0,30,6,46,A\n" for i in range(3, 7)) + (
    "M9,0.0,0.0,0,30,6,46,A\n"
)  # fmt: skip


def test_a_site_far_away_is_refused_unless_told_what_to_do(convert):
    """A site without coordinates is often listed at 0, 0."""
    code, _, message = convert("sites.csv", FAR)
    assert code == 2
    assert "line 9: far from all other sites: M9" in message
    code, found, _ = convert("sites.csv", FAR, "--outliers", "drop")
    assert (code, found["sites"]) == (0, 6)
    assert any(note.startswith("left out: M9") for note in found["notices"])


def test_an_existing_config_is_replaced_only_by_force(convert):
    assert convert("sites.csv", PLAIN)[0] == 0
    code, _, message = convert("sites.csv", PLAIN)
    assert (code, "exists already; --force replaces it" in message) == (2, True)
    assert convert("sites.csv", PLAIN, "--force")[0] == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", PLAIN.replace("48.1351", "5332000"), "line 2, column lat: .*x_m and y_m"),
        ("a.csv", PLAIN.replace("lat,lon", "b,l"), "expected the columns lat and lon, or x_m"),
        ("a.csv", PLAIN.replace(",A\n", ",Z\n"), "line 2: expected an SLA group .* got 'Z'"),
        ("a.csv", PLAIN.replace("120,30", "north,30"), "line 3, column azimuth_deg: .*'north'"),
        ("a.csv", PLAIN.replace("120,30", "800,30"), "line 3: expected an azimuth from 0"),
        ("a.csv", PLAIN.replace("120,30", ",30"), "line 3: expected an azimuth .* got none"),
        (
            "a.csv",
            PLAIN.replace("8,46,A", "8,460,A"),
            "line 4: expected power_dbm from 0 to 60.*46",
        ),
        ("a.csv", PLAIN.replace("30,6,46", "30,60,46"), "line 2: expected tilt_deg from -10 to 20"),
        (
            "a.csv",
            PLAIN.replace("M1,", "M\x85seed: 9,"),
            "line 2: expected text without control",
        ),
        ("a.csv", PLAIN + "M2,48.1374,11.5755,240,99,8,46,A\n", "line 5: azimuth 240 of M2 stands"),
        ("a.csv", PLAIN + "M2,48.2,11.5755,0,25,8,46,A\n", "line 5: .* site M2 at one place"),
        ("a.csv", PLAIN + "M3,,11.5755,0,25,8,46,A\n", "line 5, column lat: expected a position"),
        ("a.csv", "site,lat,lon,latitude\n", "expected a header and at least one row"),
        ("a.csv", "site,lat,lon,latitude\nM1,1,1,1\n", "'lat' and 'latitude' both mean lat"),
        ("a.geojson", "[]", "expected a GeoJSON FeatureCollection"),
        ("a.geojson", '{"features": [{"geometry": null}]}', "feature 1: expected a Point"),
        ("a.geojson", "[" * 100_000, "expected a readable GeoJSON file"),
        (
            "a.geojson",
            '{"features": [{"geometry": {"type": "Point", "coordinates": [1, 1]}, '
            '"properties": [1]}]}',
            "feature 1: expected a mapping of properties",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_by_one_line(convert, name, text, message):
    code, _, printed = convert(name, text)
    assert code == 2
    assert re.search(message, printed), printed
    assert printed.count("\n") == 1


def test_projected_distances_are_those_on_the_ellipsoid():
    """At 48 degrees north a degree of latitude is 111.195 km, one of longitude 74.629 km."""
    points = project_to_metres([48.0, 48.1, 48.0], [11.0, 11.0, 11.1], (48.0, 11.0))
    assert points[0] == pytest.approx([0, 0], abs=1e-6)
    assert np.linalg.norm(points[1]) == pytest.approx(11119.5, abs=5)
    assert points[2, 0] == pytest.approx(7462.9, abs=5)


CARRIERS = (
    "site,cell,x_m,y_m,azimuth,band\n"
    "A,A8,0,0,0,800\nA,A18,0,0,2,1800\nA,A8b,0,0,120,800\nB,B8,500,0,0,800\n"
)
MERGED = (
    "site,cell,x_m,y_m,azimuth,height\nA,A1,0,0,0,30\n,A2,0,0,120,\n,A3,0,0,240,\nB,B1,500,0,0,25\n"
)


def test_one_of_several_carriers_is_taken(convert):
    _, found, _ = convert("sites.csv", CARRIERS, "--carrier", "band=800")
    assert list(found["cells"].values()) == ["A8", "A8b", "B8"]


def test_merged_cells_of_a_spreadsheet_are_filled(convert):
    _, found, _ = convert("sites.csv", MERGED)
    sites = load_sites(found)
    assert [len(site.sla_groups) for site in sites] == [3, 1]
    assert [site.mast.height_m for site in sites] == [30.0, 25.0]
    assert found["notices"][0] == "2 rows have no site: that of the row above is taken"


def test_a_column_is_named_where_its_spelling_is_unknown(convert):
    text = "site,x_m,y_m,azimuth,VET tilt\nA,0,0,0,4\nA,0,0,120,4\n"
    _, found, _ = convert("sites.csv", text, "--set", "columns.tilt_deg=VET tilt")
    assert load_sites(found)[0].mast.tilt_deg == 4


def test_degrees_minutes_and_seconds_are_read(convert):
    text = "site,lat,lon\nA,48°08'13.9\"N,11°34'31.4\"E\nB,48°08'24.4\"N,11°34'55.2\"E\n"
    _, found, _ = convert("sites.csv", text.replace('"N', "''N").replace('"E', "''E"))
    assert len(found["cells"]) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CARRIERS, "site A: A8 and A18 look to 2 degrees.*--carrier COLUMN=VALUE"),
        ("site,x_m,y_m,Azimuths\nA,0,0,0/120/240\n", "'Azimuths' is not understood"),
        ("site,x_m,y_m,vertical tilt\nA,0,0,4\n", "'vertical tilt' is not understood"),
        ("site,x_m,y_m,output power\nA,0,0,4\n", "'output power' is not understood"),
        ("site,x_m,y_m,azimuth,RET\nA,0,0,0,40\n", "line 2: .*in tenths it would be 4"),
        ("site,x_m,y_m,power\nA,0,0,430\n", "line 2: .*in tenths it would be 43"),
        (MERGED.replace(",A2,0", ",A2,90"), "line 3, column site: expected the name of a site"),
        ("site,easting,northing,zone\nA,1,2,32\nB,3,4,33\n", "line 3, column zone: .*one UTM"),
    ],
)
def test_what_would_be_another_network_is_refused(convert, text, message):
    code, _, printed = convert("sites.csv", text)
    assert code == 2
    assert re.search(message, printed), printed
