"""Follows a file of JSON lines while somebody else writes it; believes nothing that it reads."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

MAX_LINE_BYTES = 16 * 2**20
MAX_READ_BYTES = 64 * 2**20
"""Most that one call reads; the next call goes on there."""


class News(NamedTuple):
    """What was written since the last look."""

    rows: list[dict[str, Any]]
    restarted: bool
    """The file is another one, or shorter: what was read before is void."""


class JsonLinesTail:
    """Complete lines of a growing file, each once; lines that are not JSON objects are counted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable_lines = 0
        self._forget()

    def read(self) -> News:
        """Objects of the lines completed since the last call; none while there is no file."""
        try:
            with open_regular(self.path) as file:
                restarted = self._is_another(file)
                return News(list(self._rows(file)), restarted)
        except OSError:
            return News([], False)

    def _forget(self) -> None:
        self._identity: tuple[int, int] | None = None
        self._offset = 0
        self._rest = b""
        self._skipping = False

    def _is_another(self, file: BinaryIO) -> bool:
        status = os.fstat(file.fileno())
        identity = (status.st_dev, status.st_ino)
        void = self._identity is not None and (
            self._identity != identity or status.st_size < self._offset
        )
        if void:
            self._forget()
            self.unreadable_lines = 0
        self._identity = identity
        return void

    def _rows(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        file.seek(self._offset)
        data = file.read(MAX_READ_BYTES)
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            row = None if self._skipping else parsed(line)
            self._skipping = False
            if row is not None:
                yield row
            elif line.strip():
                self.unreadable_lines += 1
        if len(self._rest) > MAX_LINE_BYTES:
            self._rest, self._skipping = b"?", True


def parsed(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line, NaN and infinities as None; None for anything else."""
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        value = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def open_regular(path: Path) -> BinaryIO:
    """The file, unless it is a link, a pipe or a device. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path}: expected a regular file")
    return os.fdopen(descriptor, "rb")


def read_whole(path: Path, *, at_most: int) -> bytes:
    """Content of a small regular file. Raises: OSError, also for one that is larger."""
    with open_regular(path) as file:
        data = file.read(at_most + 1)
    if len(data) > at_most:
        raise OSError(f"{path}: expected at most {at_most} bytes")
    return data
