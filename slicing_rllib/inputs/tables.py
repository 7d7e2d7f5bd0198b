"""Reads a delimited text file: byte-order mark, separator and decimal sign are recognised.

Parquet files become CSV files, which the simulator reads.
"""

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from slicing_rllib.storage import read_bounded, require_regular
from slicing_rllib.storage.errors import ConfigError
from slicing_rllib.storage.regular_file import GIB, MIB

MAX_BYTES = 256 * MIB
SEPARATORS = (",", ";", "\t", "|")
NAMES = {",": "','", ";": "';'", "\t": "tab", "|": "'|'"}
BLANKS = frozenset({"", "-", "na", "n/a", "nan", "null", "none"})
"""Texts, in lower case, that mean a missing value."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")


@dataclass(frozen=True)
class TextTable:
    """The rows of a file as text."""

    where: str
    """What messages call the file, such as `mask trace week.csv`."""
    header: tuple[str, ...]
    """Names of the columns, each once."""
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    """Line of the file in which each row stands, from 1."""
    separator: str
    decimal: str
    """The sign between the integer part and the fraction of a number."""
    header_line: int
    """Line of the file in which the header stands."""

    def read_column(self, name: str) -> tuple[str, ...]:
        """The texts of a column of `header`."""
        index = self.header.index(name)
        return tuple(row[index] for row in self.rows)

    def locate(self, row: int, column: str) -> str:
        """What messages call one value of the table."""
        return f"{self.where}, line {self.lines[row]}, column {column}"

    @property
    def separator_name(self) -> str:
        """What messages call the separator."""
        return NAMES.get(self.separator, repr(self.separator))


def read_text_table(
    path: Path, kind: str, *, separator: str | None = None, decimal: str | None = None
) -> TextTable:
    """The table in a file of comma-separated values or a relative of that format.

    `kind` begins what messages call the file. `separator` and `decimal` are recognised where they
    are None. Raises: ValueError, one line with file, line and column.
    """
    where = f"{kind} {path}"
    lines = _split_lines(_read_text(path, where))
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise ValueError(f"{where}: expected a header and at least one row, the file is empty")
    if lines[first].lower().startswith("sep=") and len(lines[first].strip()) <= 5:
        separator = separator or lines[first][4:5]
        first += 1
    chosen = separator or _recognise_separator(lines[first])
    try:
        header = _read_header(where, lines[first], first + 1, chosen)
        rows, numbers = _read_rows(where, lines, first + 1, header, chosen)
    except csv.Error as error:
        raise ValueError(f"{where}: expected a readable CSV file ({error})") from error
    if not rows:
        raise ValueError(f"{where}: expected a header and at least one row with values")
    found = decimal or _recognise_decimal(chosen, rows)
    return TextTable(where, header, rows, numbers, chosen, found, first + 1)


def parse_number(text: str, decimal: str) -> float | None:
    """The number, NaN for a blank, None for anything else. A percent sign at its end is ignored."""
    bare = text.strip().removesuffix("%").strip()
    if bare.lower() in BLANKS:
        return float("nan")
    if decimal == ",":
        if "." in bare:
            return None
        bare = bare.replace(",", ".")
    return float(bare) if _NUMBER.fullmatch(bare) else None


def _read_text(path: Path, where: str) -> str:
    try:
        data = read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise ValueError(f"{where}: expected a readable CSV file ({error.strerror})") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{where}, line {line}: expected a readable CSV file in UTF-8, "
            f"got the byte {data[error.start]:#04x}"
        ) from error
    if "\0" in text:
        raise ValueError(f"{where}: expected a readable CSV file, got binary data")
    return text


def _split_lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _recognise_separator(header: str) -> str:
    """The separator that occurs most often in the header outside quotation marks."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(SEPARATORS, key=bare.count)


def _read_header(where: str, text: str, line: int, separator: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in next(csv.reader([text], delimiter=separator)))
    place = f"{where}, line {line}"
    if len(names) == 1 and re.search(r"[\s;,|:]", names[0]):
        known = ", ".join(NAMES[sign] for sign in SEPARATORS)
        raise ValueError(
            f"{place}: found the single column {names[0]!r} with the separator "
            f"{NAMES.get(separator, repr(separator))}; expected columns separated by one of {known}"
        )
    for index, name in enumerate(names):
        if not name:
            raise ValueError(f"{place}: column {index + 1} has no name")
        if name in names[:index]:
            raise ValueError(f"{place}: the column {name!r} stands twice")
    return names


def _read_rows(
    where: str, lines: Sequence[str], start: int, header: tuple[str, ...], separator: str
) -> tuple[tuple[tuple[str, ...], ...], tuple[int, ...]]:
    """Values and line numbers. Raises: ValueError for a blank line that is not at the end."""
    end = max((i + 1 for i in range(start, len(lines)) if lines[i].strip()), default=start)
    rows: list[tuple[str, ...]] = []
    for index, values in enumerate(csv.reader(lines[start:end], delimiter=separator)):
        line = start + index + 1
        if not values:
            raise ValueError(f"{where}, line {line}: expected values, the line is blank")
        if len(values) != len(header):
            sign = NAMES.get(separator, repr(separator))
            raise ValueError(
                f"{where}, line {line}: expected {len(header)} values, got {len(values)}"
                f" (the separator is {sign}{_hint_at_decimals(values, separator)})"
            )
        rows.append(tuple(value.strip() for value in values))
    return tuple(rows), tuple(range(start + 1, start + 1 + len(rows)))


def _hint_at_decimals(values: Sequence[str], separator: str) -> str:
    is_comma = separator == "," and all(value.strip().isdigit() for value in values)
    return ", which decimal commas need to be another" if is_comma and len(values) > 1 else ""


def _recognise_decimal(separator: str, rows: Sequence[Sequence[str]]) -> str:
    """A comma where some value is a number with a comma, unless commas separate the values."""
    if separator == ",":
        return "."
    has_comma = any(_DECIMAL_COMMA.fullmatch(value.strip("% ")) for row in rows for value in row)
    return "," if has_comma else "."


SUFFIXES = (".parquet", ".pq")
MAX_PARQUET_BYTES = GIB


def convert_parquet(path: Path) -> Path:
    """The CSV copy of a Parquet file, `NAME.csv` beside it; any other file itself.

    The copy has the file's time, and is written again where the times differ. Raises: ConfigError
    for a file that cannot be read or a folder that cannot be written to.
    """
    if path.suffix.lower() not in SUFFIXES:
        return path
    copy = path.with_name(f"{path.name}.csv")
    try:
        written_ns = path.stat().st_mtime_ns
        if copy.exists() and copy.stat().st_mtime_ns == written_ns:
            return copy
        require_regular(path, MAX_PARQUET_BYTES)
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{path}: expected a readable Parquet file ({reason})") from error
    _write_copy(table, copy, written_ns)
    return copy


def _write_copy(table: pd.DataFrame, copy: Path, written_ns: int) -> None:
    if not isinstance(table.index, pd.RangeIndex):
        table = table.reset_index(names=table.index.name or "time")
    partial = copy.with_name(f"{copy.name}.partial")
    try:
        table.to_csv(partial, index=False)
        os.utime(partial, ns=(written_ns, written_ns))
        os.replace(partial, copy)
    except OSError as error:
        raise ConfigError(
            f"{copy}: cannot write the CSV copy of the Parquet file ({error.strerror}); "
            "expected a folder that can be written to"
        ) from error
