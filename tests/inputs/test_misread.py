"""Operators' files that look like others: read as they are meant, or refused, never guessed."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from slicing_rllib.inputs.traces import TracedNetwork
from slicing_rllib.radio import TraceMask
from slicing_rllib.radio.traffic import SyntheticMask
from slicing_rllib.runs.config_loading import make_trace_mask

NETWORK = TracedNetwork(
    ("cell_1", "cell_2"), ("A1", "A2"), ("voice", "video"), (20, 20), (100.0, 100.0), 1.0
)
CASES = Path(__file__).parents[3] / "shared" / "data" / "cases"


@pytest.fixture
def read(tmp_path):
    def read(text: str, **settings):
        path = tmp_path / "trace.csv"
        path.write_text(text, encoding="utf-8")
        return TraceMask(path=str(path), **settings).bind(NETWORK, 0).trace

    return read


@pytest.mark.parametrize(
    ("first", "second", "row_s"),
    [
        ("202505051000", "202505051015", 900),
        ("2025050510", "2025050511", 3600),
        ("20250505100000", "20250505100005", 5),
        ("20250505", "20250506", 86400),
        ("1746439200", "1746439260", 60),
        ("1746439200000", "1746439260000", 60),
        ("2025-05-05 10:00-10:15", "2025-05-05 10:15-10:30", 900),
        ("2025-05-05 10:00 - 2025-05-05 10:15", "2025-05-05 10:15 - 2025-05-05 10:30", 900),
        ("2025-05-05 23:30-23:45", "2025-05-05 23:45-00:00", 900),
        ("2025-05-05T10:00-05:00", "2025-05-05T10:15-05:00", 900),
    ],
)
def test_compact_times_and_intervals_are_understood(read, first, second, row_s):
    trace = read(f"time,voice,video\n{first},.1,.2\n{second},.3,.4\n")

    start = datetime.fromtimestamp(trace.start_s, UTC)
    assert (start.year, start.month, start.day) == (2025, 5, 5)
    assert trace.row_s == row_s


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        ("1976-05-05 10:00", "1976-05-05 10:15", "a time from 2000 to"),
        ("2611-05-05 10:00", "2611-05-05 10:15", "a time from 2000 to"),
        ("946684", "946685", "date and time"),
        ("2025-05-05T10:00+10:07", "2025-05-05T10:15+10:07", "quarter hours"),
        ("2025-05-05T10:00+14:30", "2025-05-05T10:15+14:30", "quarter hours"),
        ("2025-05-05T10:00:00.1", "2025-05-05T10:00:00.2", "at least a step of 1 s apart"),
    ],
)
def test_times_that_nobody_measured_are_refused(read, first, second, problem):
    with pytest.raises(ValueError, match=problem):
        read(f"time,voice,video\n{first},.1,.2\n{second},.3,.4\n")


@pytest.mark.parametrize("text", ["1.234;900", "1,234;2,000", "1.234;2.000"])
def test_three_digits_after_a_sign_are_refused(read, text):
    with pytest.raises(ValueError, match=r"decimal: '[.,]' or thousands: '[.,]' says which"):
        read(f"time;voice;video\n2025-05-05 10:00;{text}\n", unit="relative")


def test_thousands_and_decimals_are_read_as_told(read):
    text = "time;voice;video\n2025-05-05 10:00;1.234;617\n"

    assert read(text, unit="relative", thousands=".").shares[0, 0].tolist() == [1.0, 0.5]
    decimal = read(text, unit="relative", decimal=".").shares[0, 0]
    assert decimal[0] == pytest.approx(1.234 / 617)
    assert read("voice,video\n0.125,1.000\n").shares[0, 0].tolist() == [0.125, 1.0]
    with pytest.raises(ValueError, match="groups of three digits"):
        read("voice;video\n1.23;5\n", thousands=".")


def test_a_row_per_time_and_cell_may_have_a_column_per_slice(read):
    text = "time,cell,voice,video\n2025-05-05 10:00,A1,.1,.2\n2025-05-05 10:00,A2,.3,.4\n"
    assert read(text).shares[0].tolist() == [[0.1, 0.2], [0.3, 0.4]]
    renamed = text.replace("voice", "v1").replace("cell", "zelle")
    again = read(renamed, columns={"voice": "v1", "cell": "zelle"})
    assert again.shares[0].tolist() == [[0.1, 0.2], [0.3, 0.4]]
    with pytest.raises(ValueError, match="expected rows of video in A2"):
        read(text.replace(".3,.4", ".3,"))


@pytest.mark.parametrize(
    ("unit", "value"),
    [("kbps", 1000), ("mbps", 1), ("gbps", 0.001), ("megabytes", 112.5), ("gigabytes", 0.1125)],
)
def test_rates_and_volumes_become_shares(read, unit, value):
    """20 UEs of 100 kbit/s: 1 Mbit/s is a half, and so are 112.5 MB in 15 minutes."""
    text = f"time,voice,video\n2025-05-05 10:00,{value},0\n2025-05-05 10:15,0,0\n"
    assert read(text, unit=unit).shares[0, 0, 0] == pytest.approx(0.5)


def test_the_hour_that_stands_twice_is_the_time_zones(read):
    """Clocks in Berlin went back on 26 October 2025 at 3:00."""
    hours = [f"{day} {hour:02}:00" for day in ("2025-10-25", "2025-10-26") for hour in range(24)]
    hours.insert(hours.index("2025-10-26 02:00"), "2025-10-26 02:00")
    text = "time,slice,value\n" + "".join(
        f"{hour},{name},.1\n" for hour in hours for name in ("voice", "video")
    )
    with pytest.raises(ValueError, match="timezone: Europe/Berlin") as refused:
        read(text)
    assert "sum" not in str(refused.value)
    assert read(text, timezone=ZoneInfo("Europe/Berlin").key).row_s == 3600


def test_no_factor_is_proposed_that_only_makes_values_fit(read):
    with pytest.raises(ValueError, match="raise its users, or name another unit") as refused:
        read("voice,video\n30,40\n", unit="users")
    assert "scale" not in str(refused.value)


def test_a_time_format_is_taken_as_it_is_printed(tmp_path):
    path = tmp_path / "day.csv"
    path.write_text("time,voice,video\n05/06/2025 10:00,.1,.2\n", encoding="utf-8")
    mask = make_trace_mask(path, SyntheticMask(), ["time_format=%d/%m/%Y %H:%M"])
    start_s = mask.bind(NETWORK, 0).trace.start_s
    assert start_s == datetime(2025, 6, 5, 10, tzinfo=UTC).timestamp()
