"""Tables that would become gigabytes are refused before their values are built."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from slicing_rllib.inputs.site_files import MAX_SECTORS, read_sites
from slicing_rllib.inputs.text_tables import MAX_COLUMNS, MAX_VALUES, read_text_table
from slicing_rllib.storage.errors import ConfigError


def read(path: Path):
    return read_text_table(path, "table")


@pytest.mark.timeout(20)
def test_a_wide_header_is_refused(tmp_path: Path):
    """Sixty thousand names took 23 s when each was compared with all before it."""
    names = ",".join(f"a{i}" for i in range(60_000))
    (tmp_path / "a.csv").write_text(f"{names}\n{names}\n")

    with pytest.raises(ConfigError, match=f"at most {MAX_COLUMNS:,} columns, got 60,000"):
        read(tmp_path / "a.csv")


def test_too_many_values_are_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_text("a,b,c,d,e\n" + "1,1,1,1,1\n" * (MAX_VALUES // 5 + 1))

    with pytest.raises(ConfigError, match=f"at most {MAX_VALUES:,} values, got 1,000,001 rows"):
        read(tmp_path / "a.csv")


@pytest.mark.timeout(20)
def test_a_parquet_file_of_many_equal_rows_is_refused(tmp_path: Path):
    zeros = pa.table({"a": pa.nulls(MAX_VALUES + 1, pa.int8()).fill_null(0)})
    parquet.write_table(zeros, tmp_path / "a.parquet")

    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    with pytest.raises(ConfigError, match="at most 5,000,000 values"):
        read(tmp_path / "a.parquet")


@pytest.mark.timeout(20)
def test_a_long_text_that_a_parquet_file_stores_once_is_refused(tmp_path: Path):
    texts = pa.array(["x" * 2**20]).take(pa.array([0] * 1000))
    parquet.write_table(pa.table({"a": texts}), tmp_path / "a.parquet")

    with pytest.raises(ConfigError, match="expected at most 64 MiB, got"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_damaged_parquet_file_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "a.parquet").write_bytes(content)

    with pytest.raises(ConfigError, match="expected a readable Parquet file"):
        read(tmp_path / "a.parquet")


def test_nested_columns_are_refused(tmp_path: Path):
    pd.DataFrame({"a": [[1, 2]]}).to_parquet(tmp_path / "a.parquet")

    with pytest.raises(ConfigError, match="column a: expected plain values"):
        read(tmp_path / "a.parquet")


def read_site_table(path: Path):
    defaults = {"height_m": 25.0, "tilt_deg": 8.0, "power_dbm": 46.0}
    return read_sites(path, defaults=defaults, sla_group="A", known_groups=["A"], outliers="keep")


def test_too_many_sites_are_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_text("x_m,y_m\n" + "1,1\n" * (MAX_SECTORS + 1))

    with pytest.raises(ConfigError, match="at most 20,000 sectors, got 20,001"):
        read_site_table(tmp_path / "a.csv")


def test_a_new_property_in_every_feature_is_refused(tmp_path: Path):
    """A column per feature and a row per feature are the square of what the file has."""
    point = {"type": "Point", "coordinates": [11.0, 48.0]}
    features = [{"geometry": point, "properties": {f"p{i}": 1}} for i in range(4000)]
    (tmp_path / "a.geojson").write_text(json.dumps({"features": features}))

    with pytest.raises(ConfigError, match="at most 5,000,000 values"):
        read_site_table(tmp_path / "a.geojson")


@pytest.mark.parametrize("name", ["a\x85seed: 99", "a\x1b[31m", "a\u2028b", "a\u202eb"])
def test_control_characters_are_refused(tmp_path: Path, name: str):
    (tmp_path / "a.csv").write_text(f"site,x_m,y_m\n{name},0,0\n", encoding="utf-8")

    with pytest.raises(ConfigError, match="line 2: expected text without control characters"):
        read(tmp_path / "a.csv")
