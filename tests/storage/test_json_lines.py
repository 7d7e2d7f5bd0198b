"""A growing file is read line by line: each complete JSON object once."""

import os
from pathlib import Path

import pytest

from slicing_rllib.storage import json_lines
from slicing_rllib.storage.json_lines import JsonLinesTail, read_json_lines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_a_missing_file_has_no_rows(path: Path):
    assert JsonLinesTail(path).read().rows == []


def test_each_line_is_read_once(path: Path):
    tail = JsonLinesTail(path)
    path.write_text('{"a": 1}\n')
    first = tail.read()
    with path.open("a") as file:
        file.write('{"a": 2}\n')

    assert (first.rows, tail.read().rows, tail.read().rows) == ([{"a": 1}], [{"a": 2}], [])


def test_a_line_is_read_when_it_is_complete(path: Path):
    tail = JsonLinesTail(path)
    path.write_text('{"a":')
    half = tail.read().rows
    with path.open("a") as file:
        file.write(" 1}\n")

    assert (half, tail.read().rows) == ([], [{"a": 1}])


@pytest.mark.parametrize("line", ["{", "[1]", '"text"', "7", "\x00\xff", "[" * 100_000])
def test_a_line_that_is_no_object_is_skipped_and_counted(path: Path, line: str):
    tail = JsonLinesTail(path)
    path.write_text(line + '\n{"a": 1}\n', encoding="latin-1")

    assert tail.read().rows == [{"a": 1}]
    assert tail.unreadable_lines == 1


def test_nan_and_infinity_become_none(path: Path):
    path.write_text('{"a": NaN, "b": -Infinity}\n')

    assert JsonLinesTail(path).read().rows == [{"a": None, "b": None}]


def test_a_line_that_is_too_long_is_skipped(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(json_lines, "MAX_TAIL_LINE_BYTES", 100)
    monkeypatch.setattr(json_lines, "MAX_TAIL_READ_BYTES", 50)
    tail = JsonLinesTail(path)
    path.write_text('{"a": "' + "x" * 1000 + '"}\n{"a": 1}\n')

    rows = [row for _ in range(30) for row in tail.read().rows]

    assert rows == [{"a": 1}]
    assert tail.unreadable_lines == 1


def test_a_file_that_became_shorter_is_read_from_its_start(path: Path):
    tail = JsonLinesTail(path)
    path.write_text('{"a": 1}\n{"a": 2}\n')
    tail.read()
    path.write_text('{"a": 3}\n')
    read = tail.read()

    assert (read.rows, read.restarted) == ([{"a": 3}], True)


def test_links_and_pipes_are_not_opened(path: Path, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text('{"a": 1}\n')
    path.symlink_to(secret)
    os.mkfifo(tmp_path / "pipe")

    assert JsonLinesTail(path).read().rows == []
    assert JsonLinesTail(tmp_path / "pipe").read().rows == []


def test_a_whole_file_has_its_objects_without_what_a_crash_cut_short(path: Path):
    path.write_text('{"a": NaN}\n[1]\n\n{"a": 2}\n{"a": 3')
    first, second = read_json_lines(path)

    assert first["a"] != first["a"]
    assert second == {"a": 2}
    with pytest.raises(FileNotFoundError):
        read_json_lines(path.with_name("gone"))
