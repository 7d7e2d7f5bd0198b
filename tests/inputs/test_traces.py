"""Traffic files as people have them: read right, or refused by one line that says what is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slicing_rllib.inputs.traces import TracedNetwork
from slicing_rllib.radio import TraceMask

TARGET = TracedNetwork(
    cells=("cell_1", "cell_2"),
    cell_ids=("MUC1", "MUC2"),
    slices=("video", "voice"),
    users=(20, 20),
    rate_kbps=(100.0, 100.0),
    step_s=1.0,
)


@pytest.fixture
def bind(tmp_path: Path) -> Any:
    """Writes a traffic file and binds its mask to two cells with two slices."""

    def write(content: str | bytes, target: TracedNetwork = TARGET, **settings: Any) -> Any:
        path = tmp_path / "week.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return TraceMask(path=str(path), **settings).bind(target, 0)

    return write


def read_first_cell(mask: Any, steps: int = 3) -> list[list[float]]:
    return [mask.at_step(step)[0].round(6).tolist() for step in range(steps)]


def test_a_trace_by_slice_applies_to_all_cells_and_repeats(bind):
    mask = bind("step,voice,video\n0,0.1,0.2\n1,0.3,0.4\n")
    assert mask.at_step(0).tolist() == [[0.2, 0.1], [0.2, 0.1]]
    assert mask.at_step(3).tolist() == [[0.4, 0.3], [0.4, 0.3]]
    assert mask.hour_at_step(0) is None


def test_a_trace_by_cell_and_slice_applies_to_single_cells(bind):
    mask = bind("cell_1.video,cell_1.voice,cell_2.video,cell_2.voice\n0.1,0.2,0.3,1\n")
    assert mask.at_step(0).tolist() == [[0.1, 0.2], [0.3, 1.0]]


def test_a_byte_order_mark_is_no_part_of_the_first_column(bind):
    assert read_first_cell(bind("\ufeffvideo,voice\n0.1,0.2\n"), 1) == [[0.1, 0.2]]


def test_utf16_as_spreadsheets_save_it_is_read(bind):
    mask = bind("video\tvoice\n0,1\t0,2\n".encode("utf-16"))
    assert read_first_cell(mask, 1) == [[0.1, 0.2]]


def test_a_quoted_line_break_counts_as_a_line(bind):
    with pytest.raises(ValueError, match=r"line 4, column voice: .* got 'x'"):
        bind('video,voice\n0.1,"\n0.2"\n0.1,x\n')


@pytest.mark.parametrize(
    "text",
    [
        "video;voice\n0,1;0,2\n",
        "sep=;\nvideo;voice\r\n0,1;0,2\r\n",
        "video\tvoice\n0.1\t0.2\n",
        "video|voice\n0.1|0.2\n",
    ],
)
def test_separators_and_decimal_commas_are_recognised(bind, text):
    assert read_first_cell(bind(text), 1) == [[0.1, 0.2]]


@pytest.mark.parametrize(
    ("times", "settings"),
    [
        (("2013-11-01 00:00:00", "2013-11-01 00:10:00"), {}),
        (("2013-11-01T00:00Z", "2013-11-01T00:10Z"), {}),
        (("01.11.2013 00:00", "01.11.2013 00:10"), {}),
        (("13/11/2013 00:00", "13/11/2013 00:10"), {}),
        (("11/01/2013 00:00", "11/01/2013 00:10"), {"time_format": "%m/%d/%Y %H:%M"}),
        (("1383264000000", "1383264600000"), {}),
        (("1383264000", "1383264600"), {}),
    ],
)
def test_rows_of_ten_minutes_are_held_for_600_steps(bind, times, settings):
    mask = bind(f"timestamp,video,voice\n{times[0]},0.1,0.2\n{times[1]},0.3,0.4\n", **settings)
    assert mask.at_step(599)[0].tolist() == [0.1, 0.2]
    assert mask.at_step(600)[0].tolist() == [0.3, 0.4]
    assert mask.hour_at_step(0) == 0


def test_linear_resampling_joins_the_rows(bind):
    """Half-way between .1 and .3 is .2; after the last row follows the first again."""
    text = "time,video,voice\n2013-11-01 00:00,0.1,0\n2013-11-01 00:10,0.3,1\n"
    mask = bind(text, resample="linear")
    assert mask.at_step(300)[0].tolist() == [pytest.approx(0.2), 0.5]
    assert mask.at_step(900)[0].tolist() == [pytest.approx(0.2), 0.5]


def test_speed_plays_a_row_of_ten_minutes_per_step(bind):
    text = "time,video,voice\n2013-11-01 23:50,0.1,0\n2013-11-02 00:00,0.3,1\n"
    mask = bind(text, speed=600, timezone="Europe/Rome")
    assert read_first_cell(mask) == [[0.1, 0.0], [0.3, 1.0], [0.1, 0.0]]
    assert [mask.hour_at_step(step) for step in range(3)] == [23, 0, 23]


def test_local_times_are_regular_over_the_end_of_summer_time(bind):
    """02:00 and 02:30 stand twice on 2013-10-27 in Rome; 03:00 comes two hours after 02:00."""
    times = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]
    rows = "".join(f"2013-10-27 {t},0.{i},0\n" for i, t in enumerate(times))
    mask = bind(f"time,video,voice\n{rows}", timezone="Europe/Rome", speed=1800)
    assert [mask.at_step(s)[0, 0] for s in range(6)] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert [mask.hour_at_step(s) for s in range(6)] == [1, 2, 2, 2, 2, 3]


@pytest.mark.parametrize(
    ("unit", "values", "expected"),
    [
        ("percent", "25,50 %", [0.25, 0.5]),
        ("users", "5,10", [0.25, 0.5]),
        ("mbps", "0.5,1", [0.25, 0.5]),
        ("relative", "200,400", [0.5, 1.0]),
    ],
)
def test_units_become_shares_of_20_ues_with_100_kbps_each(bind, unit, values, expected):
    assert read_first_cell(bind(f"video,voice\n{values}\n", unit=unit), 1) == [expected]


def test_scale_multiplies_all_values(bind):
    assert read_first_cell(bind("video,voice\n5,10\n", unit="users", scale=0.5), 1) == [
        [0.125, 0.25]
    ]


def test_columns_of_other_names_are_mapped_and_the_rest_is_left_out(bind):
    text = "date,sum,volte,youtube\n2013-11-01,9,0.2,0.1\n"
    mask = bind(text, columns={"video": "youtube", "voice": "volte"})
    assert read_first_cell(mask, 1) == [[0.1, 0.2]]
    assert mask.trace.ignored == ("sum",)


def test_operators_cell_names_are_understood(bind):
    mask = bind("MUC1.video,MUC1.voice,MUC2.video,MUC2.voice\n0.1,0.2,0.3,1\n")
    assert mask.at_step(0).tolist() == [[0.1, 0.2], [0.3, 1.0]]


LONG = """time,cell,slice,value
2013-11-01 00:00,MUC1,video,0.1
2013-11-01 00:15,MUC1,video,0.2
2013-11-01 00:00,MUC1,voice,0.3
2013-11-01 00:15,MUC1,voice,0.4
2013-11-01 00:00,MUC2,video,0.5
2013-11-01 00:15,MUC2,video,0.6
2013-11-01 00:00,MUC2,voice,0.7
2013-11-01 00:15,MUC2,voice,0.8
"""


def test_long_form_is_sorted_by_time(bind):
    mask = bind(LONG, speed=900)
    assert mask.at_step(0).tolist() == [[0.1, 0.3], [0.5, 0.7]]
    assert mask.at_step(1).tolist() == [[0.2, 0.4], [0.6, 0.8]]


def test_call_records_of_many_squares_are_summed_and_others_left_out(bind):
    """One internet value per square, time and country: all slices of a cell follow its sum."""
    text = (
        "square_id,time_interval,country_code,internet\n"
        "7,1383260400000,39,30\n7,1383260400000,41,10\n8,1383260400000,39,20\n9,1383260400000,39,1\n"
        "7,1383261000000,39,10\n8,1383261000000,39,\n9,1383261000000,39,1\n"
    )
    columns = {"cell": "square_id", "value": "internet", "cell_1": "7", "cell_2": "8"}
    mask = bind(text, columns=columns, unit="relative", duplicates="sum", gaps="zero", speed=600)
    assert mask.at_step(0).tolist() == [[1.0, 1.0], [0.5, 0.5]]
    assert mask.at_step(1).tolist() == [[0.25, 0.25], [0.0, 0.0]]
    assert (mask.trace.summed_values, mask.trace.missing_values) == (1, 1)
    assert mask.trace.ignored == ("cell 9",)


GAPPY = "time,video,voice\n2013-11-01 00:00,0.1,0\n2013-11-01 00:10,,0\n2013-11-01 00:30,0.4,0\n"


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ("hold", [0.1, 0.1, 0.1, 0.4]),
        ("linear", [0.1, 0.2, 0.3, 0.4]),
        ("zero", [0.1, 0.0, 0.0, 0.4]),
    ],
)
def test_gaps_are_filled_as_configured_and_counted(bind, gaps, expected):
    mask = bind(GAPPY + "2013-11-01 00:40,0.5,0\n", gaps=gaps, speed=600)
    assert [mask.at_step(s)[0, 0] for s in range(4)] == pytest.approx(expected)
    assert (mask.trace.missing_rows, mask.trace.missing_values) == (1, 1)


TIMED = "timestamp,video,voice\n2013-11-01 00:00,0.1,0.2\n"


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("", {}, "the file is empty"),
        ("video,voice\n", {}, "expected a header and at least one row"),
        ("video,voice\n\n\n", {}, "expected a header and at least one row"),
        ("video,voice\n0.1,0.2\n\n0.1,0.2\n", {}, "line 3: .* the line is blank"),
        (
            "video,voice\n0.1,1.5\n",
            {},
            r"line 2, column voice: expected a number in \[0, 1\].*unit",
        ),
        ("video,voice\n0.1,-1\n", {}, "line 2, column voice: .* got '-1'"),
        ("video,voice\n0.1,0.2\n0.1,nan\n", {}, "line 3, column voice: .* got 'nan' .gaps: hold"),
        ("video,voice\n0.1,much\n", {}, "line 2, column voice: .* got 'much'"),
        ("video,voice\n0.1,1_0\n", {}, "line 2, column voice: .* got '1_0'"),
        ("video,voice\n0.1\n", {}, "line 2: expected 2 values, got 1 .the separator is ','"),
        ("video,voice\n0,1,0,2\n", {}, "line 2: expected 2 values, got 4 .* decimal commas"),
        ("video voice\n0.1 0.2\n", {}, "single column 'video voice' .* separated by one of"),
        ("video;voice\n0,1;0,2\n", {"separator": ","}, "single column 'video;voice' .* ','"),
        ("video;voice\n1.000,1;0,2\n", {}, "line 2, column video: .* got '1.000,1'"),
        ("video,video,voice\n0.1,0.1,0.1\n", {}, "line 1: the column 'video' stands twice"),
        ("video,\n0.1,0.1\n", {}, "line 1: column 2 has no name"),
        ("video\n0.1\n", {}, "line 1: expected a column 'voice', got video"),
        ("video,voice,fax\n0.1,0.2,0.3\n", {}, "line 1: unknown column 'fax'"),
        ("cell_1.video\n0.1\n", {}, "line 1: expected a column 'cell_1.voice'"),
        ("step,video,voice\n0,0,0\n2,0,0\n1,0,0\n", {}, "line 4, column step: step 1 goes back"),
        ("step,video,voice\n0,0,0\n2,0,0\n", {}, "line 2: 1 of 3 rows are missing"),
        ("step,video,voice\nx,0,0\n", {}, "line 2, column step: expected a step number, got 'x'"),
        (TIMED + "2013-11-01 00:00,0,0\n", {}, "line 3, .* 2013-11-01 00:00 stands twice"),
        (TIMED + "2013-10-31 00:00,0,0\n", {}, "line 3, column timestamp: .* goes back in time"),
        (TIMED + "yesterday,0,0\n", {}, "line 3, column timestamp: .* got 'yesterday'"),
        ("time,video,voice\n01/02/2013,0,0\n", {}, "may be day/month or month/day"),
        (
            TIMED + "".join(f"2013-11-01 00:{m},0,0\n" for m in (10, 20, 37, 40)),
            {},
            "line 5, .* 00:37 is not a multiple of",
        ),
        (GAPPY, {"gaps": "refuse"}, "line 3, column video: .* got ''"),
        (LONG + "2013-11-01 00:00,MUC1,video,0.1\n", {}, "line 10: .* line 2 .*duplicates: sum"),
        (LONG.replace("MUC2", "MUC3"), {}, "line 6, column cell: .* got 'MUC3'"),
        (
            LONG[: LONG.index("2013-11-01 00:00,MUC2,voice")],
            {},
            "rows of voice in MUC2, found none",
        ),
        (LONG.replace("time,", "when,"), {}, "expected a column of times beside 'value'"),
        ("video,voice\n21,0\n", {"unit": "users"}, "line 2, column video: .* raise its users"),
        ("video,voice\n0,0\n", {"columns": {"viedo": "video"}}, "columns: expected .* got 'viedo'"),
    ],
)
def test_what_cannot_be_read_is_refused_by_one_line(bind, text, settings, message):
    with pytest.raises(ValueError, match=message) as error:
        bind(text, **settings)
    assert "\n" not in str(error.value)
    assert "week.csv" in str(error.value)


def test_the_error_for_a_missing_trace_names_the_file(tmp_path):
    with pytest.raises(ValueError, match=r"mask trace .*gone.csv: expected a readable CSV file"):
        TraceMask(path=str(tmp_path / "gone.csv")).bind(TARGET, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 0}, r"scale\n.*greater than 0"),
        ({"speed": -1}, r"speed\n.*greater than 0"),
        ({"row_s": 0}, r"row_s\n.*greater than 0"),
        ({"timezone": "Mars/Olympus"}, "timezone: expected a name such as Europe/Berlin"),
        ({"separator": ";;"}, r"separator\n.*at most 1 character"),
    ],
)
def test_settings_out_of_range_raise_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        TraceMask(path="week.csv", **settings)


def test_a_changed_file_is_read_again(bind, tmp_path):
    first = bind("video,voice\n0.1,0.2\n")
    again = bind("video,voice\n0.1,0.25\n")
    assert np.array_equal(first.at_step(0)[0], [0.1, 0.2])
    assert np.array_equal(again.at_step(0)[0], [0.1, 0.25])
