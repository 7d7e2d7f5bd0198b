"""The setting `transfer.source`."""

import pytest

from slicing_rllib.transfer import SourceName, SourceRotation, parse_source

CELLS = ("cell_1", "cell_2", "cell_3")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("cell_2", SourceName("cell_2")),
        ("library:city", SourceName("library:city")),
        ("next:0", SourceRotation(0)),
        ("next:12", SourceRotation(12)),
        ("next:", SourceName("next:")),
        ("next:cell_2", SourceName("next:cell_2")),
    ],
)
def test_only_next_with_a_number_is_a_rotation(text, expected):
    assert parse_source(text) == expected


def test_a_rotation_counts_from_the_target_and_begins_again_after_the_last_cell():
    assert SourceRotation(1).resolve("cell_1", CELLS, CELLS) == "cell_2"
    assert SourceRotation(2).resolve("cell_2", CELLS, CELLS) == "cell_1"


def test_a_rotation_names_the_bundle_where_the_cell_is_not_a_candidate():
    assert SourceRotation(0).resolve("cell_1", CELLS, {"cell_2"}) == "library:cell_1"


def test_a_name_does_not_depend_on_the_target():
    assert SourceName("cell_2").resolve("cell_2", CELLS, ()) == "cell_2"
