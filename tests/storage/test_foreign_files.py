"""Only regular files of bounded size are read; of a growing file, each complete object once."""

import os
import socket
from pathlib import Path

import pytest

from slicing_rllib.storage import foreign_files, read_bounded, require_regular
from slicing_rllib.storage.foreign_files import JsonLinesTail, read_json_lines


@pytest.fixture(params=["pipe", "device", "folder", "socket", "large", "missing", "nul"])
def unreadable(request, tmp_path: Path) -> Path:
    path = tmp_path / "x"
    match request.param:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/zero")
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
        case "large":
            path.write_bytes(bytes(11))
        case "nul":
            path = Path("a\0b")
    return path


@pytest.mark.timeout(5)
@pytest.mark.parametrize("read", [read_bounded, require_regular])
def test_what_is_no_regular_file_of_bounded_size_is_refused_at_once(unreadable: Path, read):
    with pytest.raises(OSError, match=r"expected|No such|No such device|NUL"):
        read(unreadable, 10)


def test_a_link_is_followed_only_where_that_is_asked_for(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"1")
    os.symlink(tmp_path / "a", tmp_path / "link")

    assert read_bounded(tmp_path / "link", 10) == b"1"
    with pytest.raises(OSError, match="got a link"):
        read_bounded(tmp_path / "link", 10, follow_links=False)


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
    monkeypatch.setattr(foreign_files, "MAX_TAIL_LINE_BYTES", 100)
    monkeypatch.setattr(foreign_files, "MAX_TAIL_READ_BYTES", 50)
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
