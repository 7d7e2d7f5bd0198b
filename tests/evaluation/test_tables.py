"""Markdown tables of means with intervals."""

import pandas as pd
import pytest

from slicing_rllib.evaluation.tables import format_csv, format_mean, format_table


def test_a_table_has_a_heading_a_rule_and_a_line_per_row():
    assert format_table(["policy", "reward"], [["drl", "0.5"]]) == [
        "| policy | reward |",
        "| --- | --- |",
        "| drl | 0.5 |",
    ]


@pytest.mark.parametrize(
    ("mean", "interval", "signed", "text"),
    [
        (0.5, (0.4, 0.6), False, "0.500 [0.400, 0.600]"),
        (0.5, (-0.4, 0.6), True, "+0.500 [-0.400, +0.600]"),
        (0.5, None, False, "0.500"),
        (None, None, False, ""),
    ],
)
def test_a_mean_is_shown_with_its_interval(mean, interval, signed: bool, text: str):
    assert format_mean(mean, interval, signed=signed) == text


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_names_that_a_spreadsheet_would_run_are_quoted(sign: str):
    table = pd.DataFrame({"cell": [f"{sign}1+1", "a"], "value": [-1.5, 2.0]})

    assert format_csv(table) == f"cell,value\n'{sign}1+1,-1.5\na,2.0\n"
