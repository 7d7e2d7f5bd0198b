"""Rows and their table; turns are interleaved, and medians are taken over turns."""

import json

import numpy as np
import pytest

from slicing_rllib.benchmarks.rows import (
    compare_with_expected,
    is_within_tolerance,
    make_benchmark_table,
    make_row,
    measure_medians,
    run_interleaved,
)
from slicing_rllib.cli import study_commands
from slicing_rllib.storage.errors import RunError


def test_a_value_outside_the_tolerance_is_recognised():
    """2.2 dB instead of 2.0 dB: a ratio of 1.1, and more than 0.1 dB off."""
    row = compare_with_expected("x", 2.2, "dB", 2.0, 0.1, "reference")
    assert row["ratio"] == pytest.approx(1.1)
    assert not is_within_tolerance(row)
    assert is_within_tolerance(row | {"tolerance": 0.3})


def test_an_expected_value_of_zero_has_no_ratio():
    assert np.isnan(compare_with_expected("x", 1.0, "dB", 0.0, 0.1, "reference")["ratio"])


def test_the_table_shows_further_columns_and_whether_values_are_within_tolerance():
    rows = [
        make_row("speed", 2.0, "steps/s", cells=12),
        compare_with_expected("loss", 2.2, "dB", 2.0, 0.1, "reference"),
        compare_with_expected("loss", 2.0, "dB", 2.0, 0.1, "reference"),
    ]
    columns = {c.header: list(c.cells) for c in make_benchmark_table(rows).columns}
    assert columns["cells"] == ["12", "", ""]
    assert columns["within"] == ["", "NO", "yes"]


def test_json_lines_have_null_instead_of_nan(capsys):
    rows = [make_row("x", 1.0, "1", ratio=np.nan), make_row("y", -1.0, "1")]
    study_commands.print_rows(rows, json=True)
    lines = [
        json.loads(line, parse_constant=pytest.fail)
        for line in capsys.readouterr().out.split("\n")[:-1]
    ]

    assert [line["ratio"] for line in lines] == [None, 1.0]
    assert lines[1]["value"] == -1.0


def test_a_missing_package_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(study_commands, "find_spec", lambda name: None)

    with pytest.raises(RunError, match="bench learning: expected the package stable-baselines3"):
        study_commands.learning()


def test_every_second_turn_runs_in_reverse_order():
    order = []

    def make_measurement(name):
        def measure():
            order.append(name)
            return float(len(order))

        return measure

    values = run_interleaved({name: make_measurement(name) for name in ("a", "b")}, 3)

    assert order == ["a", "b", "b", "a", "a", "b"]
    assert values == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}


def test_the_median_over_turns_counts():
    """Turns of 1, 9 and 2 have the median 2."""
    a, b = iter([1.0, 9.0, 2.0]), iter([4.0, 4.0, 5.0])

    assert measure_medians({"a": lambda: next(a), "b": lambda: next(b)}, 3) == {"a": 2, "b": 4}
