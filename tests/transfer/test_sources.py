"""Sources that a target can use, and the setting `transfer.source`."""

import pytest

from slicing_rllib.transfer.sources import resolve_source

CELLS = ("cell_1", "cell_2", "cell_3")


@pytest.mark.parametrize("text", [None, "cell_2", "library:city", "next:", "next:cell_2"])
def test_only_next_with_a_number_depends_on_the_target(text):
    assert resolve_source(text, "cell_1", CELLS, ()) == text


@pytest.mark.parametrize(
    ("text", "target", "source"),
    [
        ("next:0", "cell_1", "cell_1"),
        ("next:1", "cell_1", "cell_2"),
        ("next:2", "cell_2", "cell_1"),
        ("next:12", "cell_2", "cell_2"),
    ],
)
def test_a_rotation_counts_from_the_target_and_begins_again_after_the_last_cell(
    text, target, source
):
    assert resolve_source(text, target, CELLS, CELLS) == source


def test_a_rotation_names_the_bundle_where_the_cell_is_not_a_candidate():
    assert resolve_source("next:0", "cell_1", CELLS, {"cell_2"}) == "library:cell_1"
