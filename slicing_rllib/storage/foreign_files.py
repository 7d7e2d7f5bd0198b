"""Reading files that a stranger may have supplied: only regular ones, and only up to a size.

Files of JSON lines are logs of runs, which may be damaged, hostile, or still being written.
"""

import errno
import json
import os
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, cast

KIB, MIB, GIB = 2**10, 2**20, 2**30
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
MAX_TEXT_BYTES = 8 * MIB
"""Of a text that is read as a whole, unless a reader says otherwise."""
MAX_JSON_BYTES = 32 * MIB
"""Of JSON, whose values may take thirty times as much memory as their text."""
MAX_LINE_BYTES = 32 * MIB
MAX_TAIL_LINE_BYTES = 16 * MIB
MAX_TAIL_READ_BYTES = 64 * MIB
"""Limit of one call of `JsonLinesTail.read`; the next call continues from there."""


def open_regular(path: Path, *, follow_links: bool = True) -> BufferedReader:
    """Opens a file for reading, without waiting for the other end of a pipe.

    Raises: OSError if it is missing, a folder, a pipe, a socket or a device; and a link, unless
    links are followed.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW)
    except ValueError as error:
        raise OSError(errno.EINVAL, "a path cannot contain a NUL character") from error
    except OSError as error:
        if error.errno == errno.ELOOP and not follow_links:
            raise OSError(errno.ELOOP, "expected a regular file, got a link", str(path)) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"expected a regular file, got {kind}", str(path))
    return os.fdopen(descriptor, "rb")


def read_bounded(path: Path, max_bytes: int, *, follow_links: bool = True) -> bytes:
    """The content of a regular file.

    Raises: OSError as `open_regular`, and for a file of more than `max_bytes`.
    """
    with open_regular(path, follow_links=follow_links) as file:
        # A sparse file of many gigabytes would be read up to the limit first.
        _check_size(path, os.fstat(file.fileno()).st_size, max_bytes)
        data = file.read(max_bytes + 1)
    _check_size(path, len(data), max_bytes)
    return data


def read_text(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """The UTF-8 text of a regular file. Raises: OSError as `read_bounded`, ValueError."""
    return read_bounded(path, max_bytes).decode("utf-8-sig")


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES, *, follow_links: bool = True) -> Any:
    """The JSON value in a regular file. Raises: OSError as `read_bounded`, ValueError."""
    data = read_bounded(path, max_bytes, follow_links=follow_links)
    try:
        return json.loads(data.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("expected JSON of fewer levels") from error


def require_regular(path: Path, max_bytes: int, *, follow_links: bool = True) -> None:
    """Checks a file that a library is going to open by its path.

    Raises: OSError as `open_regular`, and for a file of more than `max_bytes`.
    """
    with open_regular(path, follow_links=follow_links) as file:
        _check_size(path, os.fstat(file.fileno()).st_size, max_bytes)


def _check_size(path: Path, n_bytes: int, max_bytes: int) -> None:
    if n_bytes > max_bytes:
        expected = f"expected a file of at most {format_size(max_bytes)}, got more"
        raise OSError(errno.EFBIG, expected, str(path))


def format_size(n_bytes: float) -> str:
    """A number of bytes for people: `3.5 GiB`."""
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes:.0f} bytes"


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file; anything else in it is left out. Raises: OSError."""
    rows: list[Any] = []
    with open_regular(path) as file:
        while line := file.readline(MAX_LINE_BYTES):
            with suppress(ValueError, RecursionError):
                rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


class NewRows(NamedTuple):
    """What was written since the previous call."""

    rows: list[dict[str, Any]]
    restarted: bool
    """The file was replaced or has become shorter, so rows read earlier are no longer valid."""


class JsonLinesTail:
    """Reads each complete line of a growing file once and counts lines that are no JSON objects."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity: tuple[int, int] | None = None
        self._start()

    def _start(self) -> None:
        self.unreadable_lines = 0
        self._offset = 0
        self._rest = b""
        self._skips_line = False

    def read(self) -> NewRows:
        """Objects of the lines that were completed since the previous call; none without a file.

        NaN and infinity become None.
        """
        try:
            with open_regular(self.path, follow_links=False) as file:
                status = os.fstat(file.fileno())
                identity = (status.st_dev, status.st_ino)
                restarted = self._identity not in (None, identity) or status.st_size < self._offset
                self._identity = identity
                if restarted:
                    self._start()
                file.seek(self._offset)
                data = file.read(MAX_TAIL_READ_BYTES)
        except OSError:
            return NewRows([], False)
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        rows: list[dict[str, Any]] = []
        for line in lines:
            row = None if self._skips_line else _parse_object(line)
            self._skips_line = False
            if row is not None:
                rows.append(row)
            elif line.strip():
                self.unreadable_lines += 1
        if len(self._rest) > MAX_TAIL_LINE_BYTES:
            self._rest, self._skips_line = b"?", True
        return NewRows(rows, restarted)


def _parse_object(line: bytes) -> dict[str, Any] | None:
    if len(line) > MAX_TAIL_LINE_BYTES:
        return None
    try:
        value = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
