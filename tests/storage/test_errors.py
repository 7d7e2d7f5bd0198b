"""Text of strangers stands in messages as one short line."""

import pytest

from slicing_rllib.storage import make_printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n b\t\tc", "a b c"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("left\u202eright", r"left\u202eright"),
        ("\ud800", r"\ud800"),
        ("größer ≤ 3", "größer ≤ 3"),
    ],
)
def test_a_message_is_one_line_without_control_characters(text: str, shown: str):
    assert make_printable(text) == shown


def test_a_long_message_keeps_its_beginning_and_its_end():
    shown = make_printable("begin " + "x" * 70_000 + " end")

    assert len(shown) <= 600
    assert shown.startswith("begin xxx")
    assert shown.endswith("xxx end")
