"""Files of JSON lines: logs of runs, which may be damaged, hostile, or still being written."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, cast

from slicing_rllib.storage.regular_file import MIB, open_regular

MAX_LINE_BYTES = 64 * MIB
MAX_TAIL_LINE_BYTES = 16 * MIB
MAX_TAIL_READ_BYTES = 64 * MIB
"""Limit of one call of `JsonLinesTail.read`; the next call continues from there."""


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
        self._reset()

    def read(self) -> NewRows:
        """Objects of the lines that were completed since the previous call; none without a file.

        NaN and infinity become None.
        """
        try:
            with open_regular(self.path, follow_links=False) as file:
                restarted = self._detect_restart(file)
                return NewRows(list(self._read_rows(file)), restarted)
        except OSError:
            return NewRows([], False)

    def _reset(self) -> None:
        self.unreadable_lines = 0
        self._identity: tuple[int, int] | None = None
        self._offset = 0
        self._rest = b""
        self._skips_line = False

    def _detect_restart(self, file: BufferedReader) -> bool:
        status = os.fstat(file.fileno())
        identity = (status.st_dev, status.st_ino)
        restarted = self._identity is not None and (
            self._identity != identity or status.st_size < self._offset
        )
        if restarted:
            self._reset()
        self._identity = identity
        return restarted

    def _read_rows(self, file: BufferedReader) -> Iterator[dict[str, Any]]:
        file.seek(self._offset)
        data = file.read(MAX_TAIL_READ_BYTES)
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            row = None if self._skips_line else _parse_object(line)
            self._skips_line = False
            if row is not None:
                yield row
            elif line.strip():
                self.unreadable_lines += 1
        if len(self._rest) > MAX_TAIL_LINE_BYTES:
            self._rest, self._skips_line = b"?", True


def _parse_object(line: bytes) -> dict[str, Any] | None:
    if len(line) > MAX_TAIL_LINE_BYTES:
        return None
    try:
        value = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
