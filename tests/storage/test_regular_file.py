"""Only regular files of bounded size are read; nothing waits for a pipe or reads a device."""

import os
import socket
from pathlib import Path

import pytest

from slicing_rllib.storage import make_printable, read_bounded, require_regular


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
