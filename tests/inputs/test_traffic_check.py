"""`traffic check`, Parquet files, and settings of traffic files on the command line."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
import yaml

from slicing_rllib.cli.main import run
from slicing_rllib.radio import SyntheticMask, TraceMask, make_scenario
from slicing_rllib.runs.config_loading import load_config, make_mask_settings

COLUMNS = [f"--set=columns.slice_{i}={name}" for i, name in enumerate("abcd", start=1)]


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """Two hours at 30-minute rows, in percent, busier in the second hour."""
    path = tmp_path / "day.csv"
    rows = "".join(
        f"2025-03-03 {h:02}:{m};{10 * h},5;20;30;40\n" for h in (1, 2) for m in ("00", "30")
    )
    path.write_text("time;a;b;c;d\n" + rows)
    return path


def test_the_check_says_what_was_understood_and_draws_it(day, capsys):
    assert run(["traffic", "check", str(day), *COLUMNS, "--set", "unit=percent", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["row_s"], found["separator"]) == (4, 1800.0, "';'")
    assert (found["from"], found["to"]) == ("2025-03-03 01:00", "2025-03-03 02:30")
    assert found["steps"] == 7200
    assert found["busy_hour"] == 2
    assert found["slices"][0]["mean"] == pytest.approx(0.155)
    assert Path(found["picture"]).read_bytes().startswith(b"\x89PNG")


def test_the_printed_settings_can_be_pasted_into_a_config(day, capsys):
    arguments = [*COLUMNS, "--set", "unit=percent", "--set", "speed=1800"]
    assert run(["traffic", "check", str(day), *arguments]) == 0
    printed = capsys.readouterr().out
    block = printed[printed.index("scenario:") : printed.index("picture:")]
    config = {**yaml.safe_load(block), "name": "pasted"}
    config["scenario"]["like"] = "paper"
    (day.parent / "mine.yaml").write_text(yaml.safe_dump(config))
    mask = load_config(str(day.parent / "mine.yaml")).scenario.bind_mask(0)
    assert [mask.hour_at_step(step) for step in range(4)] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "day.csv, line 1: expected a column 'slice_1', got time, a, b, c, d"),
        (COLUMNS, "line 2, column a: expected a number in [0, 1], got '10.5'; unit: percent"),
        (["--set", "untit=mbps"], "--set untit=mbps: unknown key untit, did you mean unit?"),
        (["--set", "unit"], "--set unit: expected KEY=VALUE"),
    ],
)
def test_a_file_or_setting_that_cannot_be_used_is_one_line_and_code_2(
    day, capsys, arguments, message
):
    assert run(["traffic", "check", str(day), *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("has_index", [True, False])
def test_parquet_is_read_like_csv(tmp_path, has_index):
    times = pd.date_range("2025-03-03", periods=3, freq="15min", tz="Europe/Berlin", name="ts")
    table = pd.DataFrame({f"slice_{i}": [0.1, 0.2, 0.3] for i in range(1, 5)}, index=times)
    path = tmp_path / "day.parquet"
    (table if has_index else table.reset_index()).to_parquet(path)
    settings = {"kind": "csv", "path": str(path), "columns": {"time": "ts"}}
    config = load_config("paper", [f"scenario.mask={json.dumps(settings)}"])
    mask = config.scenario.bind_mask(0)
    assert [mask.at_step(900 * i)[0, 0] for i in range(3)] == [0.1, 0.2, 0.3]
    assert list(tmp_path.iterdir()) == [path]


def test_a_changed_parquet_file_is_read_again(tmp_path):
    path = tmp_path / "day.parquet"
    for level in (0.1, 0.25):
        pd.DataFrame({f"slice_{i}": [level] for i in range(1, 5)}).to_parquet(path)
        os.utime(path, ns=(int(level * 100), int(level * 100)))
        mask = TraceMask(path=str(path)).bind(make_scenario("paper").traced_network, 0)
        assert mask.at_step(0)[0, 0] == level


def test_a_damaged_parquet_file_is_one_line(tmp_path, capsys):
    path = tmp_path / "day.parquet"
    path.write_text("no parquet")
    assert run(["traffic", "check", str(path)]) == 2
    printed = capsys.readouterr().err
    assert "day.parquet: expected a readable Parquet file" in printed
    assert printed.count("\n") == 1


def test_other_traffic_is_read_like_the_runs_own_file():
    own = TraceMask(path="week1.csv", unit="mbps", columns={"slice_1": "video"})
    assert make_mask_settings(Path("week2.csv"), own)["unit"] == "mbps"
    assert make_mask_settings(Path("week2.csv"), own)["path"] == "week2.csv"
    assert make_mask_settings(Path("week2.csv"), SyntheticMask()) == {
        "kind": "csv",
        "path": "week2.csv",
    }


def test_a_yaml_file_may_say_how_traffic_is_read(tmp_path):
    (tmp_path / "week.yaml").write_text("scenario: {mask: {path: week.csv, unit: percent}}\n")
    settings = make_mask_settings(tmp_path / "week.yaml", SyntheticMask())
    assert settings == {"kind": "csv", "path": str(tmp_path / "week.csv"), "unit": "percent"}
