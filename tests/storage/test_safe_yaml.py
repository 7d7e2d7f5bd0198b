"""YAML of strangers is what it looks like, of bounded size, or refused with its line."""

from pathlib import Path

import pytest

from slicing_rllib.storage.errors import ConfigError
from slicing_rllib.storage.safe_yaml import find_line, parse_document, read_document
from slicing_rllib.storage.yaml_validation import find_invalid_values


def test_text_that_looks_like_a_date_stays_text():
    assert parse_document("a: 2025-03-03\nb: 1e3\nc: 12\n", "x").content == {
        "a": "2025-03-03",
        "b": "1e3",
        "c": 12,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "x:3: key 'a' stands twice, first in line 1"),
        ("a: 1\nb: 010\n", "x:2: YAML reads 010 as an octal number"),
        ("a: 1\nb: 1:30\n", "x:2: YAML reads 1:30 as a number to the base of 60"),
        ("a: 1\nb: &b 2\n", "x:2: expected no anchors and aliases"),
        ("a: 1\nb:\n  - *b\n", "x:3: expected no anchors and aliases"),
        ("a: &a [1]\nb: {<<: *a}\n", "x:1: expected no anchors and aliases"),
        ("a: !!python/object/apply:os.system ['true']\n", "x:1: could not determine a construct"),
        ("[" * 50, "x:1: expected nesting no deeper than 40"),
        ("- 1\n", "x: expected a mapping of settings, got list"),
        ("1: 2\n", "x: expected keys that are names, got 1"),
    ],
)
def test_what_reads_differently_than_it_looks_is_refused_with_its_line(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "x")
    assert str(caught.value).startswith(message)


def test_a_line_is_found_by_the_path_of_its_key():
    text = "a:\n  b: 1\n  c:\n    - {d: 2}\n    - {d: 3}\n"
    assert find_line(text, ["a", "c", "1", "d"]) == 5
    assert find_line(text, ["a", "e"]) == 1
    assert find_line(text, ["z"]) is None


def test_a_link_is_not_followed_where_that_is_forbidden(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("a: 1\n")
    (tmp_path / "link").symlink_to(tmp_path / "a.yaml")
    assert read_document(tmp_path / "link", "config").content == {"a": 1}
    with pytest.raises(ConfigError, match=r"^config \(expected a regular file, got a link\)$"):
        read_document(tmp_path / "link", "config", follow_links=False)


def test_values_that_no_setting_may_have_are_found_with_their_path():
    content = {"a": [1, float("nan")], "b": {"c": "x" * 5000, "d": "\x07", "e": 2**60}, "f": "ok"}
    assert dict(find_invalid_values(content)) == {
        ("a", "1"): "expected a finite number, got nan",
        ("b", "c"): "expected at most 4096 characters, got 5000",
        ("b", "d"): "expected printable characters only",
        ("b", "e"): "expected a number of at most 9007199254740992, got 1.15e+18",
    }
