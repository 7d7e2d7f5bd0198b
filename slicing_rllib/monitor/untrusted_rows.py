"""Reads a file of JSON lines while another process writes it, and tolerates any content.

Makes values from a run directory finite, small and plain before they are sent to a browser.
"""

import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

MAX_LINE_BYTES = 16 * 2**20
MAX_READ_BYTES = 64 * 2**20
"""Limit of one call of `read`; the next call continues from there."""


class NewRows(NamedTuple):
    """What was written since the previous call."""

    rows: list[dict[str, Any]]
    restarted: bool
    """The file was replaced or has become shorter, so rows read earlier are no longer valid."""


class JsonLinesTail:
    """Reads each complete line of a growing file once and counts lines that are no JSON objects."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unreadable_lines = 0
        self._reset()

    def read(self) -> NewRows:
        """Objects of the lines that were completed since the previous call; none without a file."""
        try:
            with open_regular(self.path) as file:
                restarted = self._detect_restart(file)
                return NewRows(list(self._read_rows(file)), restarted)
        except OSError:
            return NewRows([], False)

    def _reset(self) -> None:
        self._identity: tuple[int, int] | None = None
        self._offset = 0
        self._rest = b""
        self._skipping = False

    def _detect_restart(self, file: BinaryIO) -> bool:
        status = os.fstat(file.fileno())
        identity = (status.st_dev, status.st_ino)
        restarted = self._identity is not None and (
            self._identity != identity or status.st_size < self._offset
        )
        if restarted:
            self._reset()
            self.unreadable_lines = 0
        self._identity = identity
        return restarted

    def _read_rows(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        file.seek(self._offset)
        data = file.read(MAX_READ_BYTES)
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            row = None if self._skipping else parse_line(line)
            self._skipping = False
            if row is not None:
                yield row
            elif line.strip():
                self.unreadable_lines += 1
        if len(self._rest) > MAX_LINE_BYTES:
            self._rest, self._skipping = b"?", True


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line, with None for NaN and infinity; None for anything else."""
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        value = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def open_regular(path: Path) -> BinaryIO:
    """Opens a file. Raises: OSError if it is missing, a link, a pipe or a device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path}: expected a regular file")
    return os.fdopen(descriptor, "rb")


def read_small(path: Path, *, max_bytes: int) -> bytes:
    """The content of a regular file. Raises: OSError, also if it is larger than `max_bytes`."""
    with open_regular(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(f"{path}: expected at most {max_bytes} bytes")
    return data


MAX_TEXT = 2_000
MAX_KEY = 200
MAX_ITEMS = 4_096
MAX_DEPTH = 6


def to_number(value: Any) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def to_text(value: Any, *, max_length: int = MAX_TEXT) -> str:
    """The first `max_length` characters if the value is text, else an empty string."""
    return value[:max_length] if isinstance(value, str) else ""


def to_mapping(value: Any) -> dict[str, Any]:
    """The value if it is a dictionary, else an empty one."""
    return value if isinstance(value, dict) else {}


def to_numbers(value: Any, count: int) -> list[float | None]:
    """Exactly `count` entries: the finite numbers of a list, None in all other places."""
    items = value if isinstance(value, list) else []
    return [to_number(item) for item in items[:count]] + [None] * (count - len(items[:count]))


def to_plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """The value as JSON with finite numbers and bounded depth, number of items and text length."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return to_number(value)
    if depth == 0:
        return "…"
    if isinstance(value, dict):
        kept = list(value.items())[:MAX_ITEMS]
        return {
            to_text(str(key), max_length=MAX_KEY): to_plain(item, depth - 1) for key, item in kept
        }
    if isinstance(value, list):
        return [to_plain(item, depth - 1) for item in value[:MAX_ITEMS]]
    return None
