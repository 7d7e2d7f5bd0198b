"""Tables of text from files of operators: CSV with any separator and decimal sign, and Parquet.

Values stay text until their column has a meaning, so that messages can quote them with their line.
"""

import csv
import io
import os
import re
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Never

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import ArrayLike

from slicing_rllib.storage import open_regular, read_bounded
from slicing_rllib.storage.errors import CONTROL, FORM_ERRORS, ConfigError
from slicing_rllib.storage.foreign_files import MIB, format_size

MAX_BYTES = 64 * MIB
"""Of a CSV file; of a Parquet file as it is and as text."""
MAX_COLUMNS = 5_000
MAX_VALUES = 5_000_000
"""Rows times columns; this many take seconds and 1 GiB to read."""
PLAIN_TYPES = (
    "integer", "floating", "decimal", "boolean", "string", "large_string", "temporal", "null",
)  # fmt: skip
"""Arrow's types of columns that are read."""
PARQUET_SUFFIXES = (".parquet", ".pq")
SEPARATORS = {",": "','", ";": "';'", "\t": "tab", "|": "'|'"}
"""The separators that are recognised, and what messages call them."""
BLANKS = ("", "-", "na", "n/a", "nan", "null", "none")
"""Texts, in lower case, that mean a missing value."""
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
DECIMAL_COMMA = r"[+-]?\d*,\d+"


def name_separator(separator: str) -> str:
    """What messages call a separator."""
    return SEPARATORS.get(separator, repr(separator))


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """The rows of a file as text."""

    where: str
    """What messages call the file, such as `mask trace week.csv`."""
    frame: pd.DataFrame
    """A column of stripped texts for each name in the header, each of which occurs once."""
    row_numbers: list[int] = field(repr=False)
    """Of the rows in the file: lines of a text file, features of a GeoJSON file, from 1."""
    separator: str = ","
    decimal: str = "."
    """The sign between the integer part and the fraction of a number."""
    thousands: str | None = None
    """The sign between groups of three digits, which is ignored."""
    header_line: int = 1
    """Line of the file in which the header stands."""
    row_word: str = "line"
    """What messages call a row of the file."""

    @property
    def header(self) -> list[str]:
        return list(self.frame.columns)

    def refuse(self, row: int, what: str, column: str | None = None) -> Never:
        """Raises: ConfigError about a row of the table, or about its value in a column."""
        place = f"{self.where}, {self.row_word} {self.row_numbers[row]}"
        raise ConfigError(f"{place if column is None else f'{place}, column {column}'}: {what}")

    def refuse_texts(self, column: str, is_wrong: ArrayLike, expected: str, hint: str = "") -> None:
        """Raises: ConfigError about the first wrong text of a column, if there is one."""
        for row in np.flatnonzero(is_wrong)[:1].tolist():
            got = self.frame[column].iloc[row]
            self.refuse(row, f"expected {expected}, got {got!r}{hint}", column)

    def refuse_header(self, what: str) -> Never:
        """Raises: ConfigError about the line of the header."""
        raise ConfigError(f"{self.where}, line {self.header_line}: {what}")

    def read_numbers(self, column: str) -> Float[np.ndarray, " row"]:
        """The numbers of a column, NaN for blanks; a percent sign at the end is ignored.

        Raises: ConfigError with the line of a text that is no number.
        """
        bare = self.frame[column].str.removesuffix("%").str.strip()
        is_blank = bare.str.lower().isin(BLANKS)
        if self.thousands is not None:
            sign, decimal = re.escape(self.thousands), re.escape(self.decimal)
            grouped = rf"[+-]?\d{{1,3}}({sign}\d{{3}})*({decimal}\d*)?"
            is_wrong = bare.str.contains(self.thousands, regex=False) & ~bare.str.fullmatch(grouped)
            self.refuse_texts(column, is_wrong, f"groups of three digits by {self.thousands!r}")
            bare = bare.str.replace(self.thousands, "", regex=False)
        # With a decimal comma, a point separates thousands or is a mistake.
        is_mixed = bare.str.contains(".", regex=False) & (self.decimal == ",")
        bare = bare.str.replace(self.decimal, ".", regex=False)
        is_number = bare.str.fullmatch(NUMBER) & ~is_mixed
        self.refuse_texts(column, ~(is_number | is_blank), "a number")
        return bare.where(is_number, "nan").to_numpy(dtype=object).astype(float)


def read_text_table(
    path: Path,
    kind: str,
    *,
    separator: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
) -> TextTable:
    """The table in a Parquet file, or in one of separated values.

    `kind` begins what messages call the file. `separator` and `decimal` are recognised where they
    are None. Raises: ConfigError, one line with file, line and column.
    """
    where = f"{kind} {path}"
    is_parquet = path.suffix.lower() in PARQUET_SUFFIXES
    text = _read_parquet(path, where) if is_parquet else _read_text(path, where)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if match := CONTROL.search(text):
        line = text.count("\n", 0, match.start()) + 1
        raise ConfigError(
            f"{where}, line {line}: expected text without control characters, got {match.group()!r}"
        )
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise ConfigError(f"{where}: expected a header and at least one row, the file is empty")
    first = next(i for i, line in enumerate(lines) if line.strip())
    if lines[first].lower().startswith("sep=") and len(lines[first].strip()) <= 5:
        separator = separator or lines[first][4:5]
        first += 1
    if first + 1 >= len(lines):
        raise ConfigError(f"{where}: expected a header and at least one row with values")
    # The separator that occurs most often in the header outside quotation marks.
    separator = separator or max(SEPARATORS, key=re.sub(r'"[^"]*"', "", lines[first]).count)
    header = _read_header(f"{where}, line {first + 1}", lines[first], separator)
    check_size(where, len(lines) - first - 1, len(header))
    rows, row_numbers = _read_rows(where, lines, first + 1, len(header), separator)
    frame = pd.DataFrame(rows, columns=pd.Index(header), dtype=str)
    if decimal is None and thousands in (".", ","):
        decimal = "." if thousands == "," else ","
    if decimal is None and separator != ",":
        has_comma = [frame[c].str.strip("% ").str.fullmatch(DECIMAL_COMMA).any() for c in frame]
        decimal = "," if any(has_comma) else "."
    return TextTable(
        where=where,
        frame=frame,
        row_numbers=row_numbers,
        separator=separator,
        decimal=decimal or ".",
        thousands=thousands,
        header_line=first + 1,
    )


def check_size(where: str, n_rows: int, n_columns: int) -> None:
    """Raises: ConfigError for a table of too many columns or values."""
    if n_columns > MAX_COLUMNS:
        raise ConfigError(f"{where}: expected at most {MAX_COLUMNS:,} columns, got {n_columns:,}")
    if n_rows * n_columns > MAX_VALUES:
        raise ConfigError(
            f"{where}: expected at most {MAX_VALUES:,} values, got {n_rows:,} rows of {n_columns:,}"
        )


def _read_text(path: Path, where: str) -> str:
    try:
        data = read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise ConfigError(f"{where}: expected a readable CSV file ({error.strerror})") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{where}, line {line}: expected a readable CSV file in UTF-8, "
            f"got the byte {data[error.start]:#04x}"
        ) from error
    return text


def _read_parquet(path: Path, where: str) -> str:
    """The content as comma-separated text, with a named index as its first column."""
    # Imported here because most tables are CSV; Arrow has no types.
    parquet, types = (import_module(f"pyarrow.{name}") for name in ("parquet", "types"))
    try:
        with open_regular(path) as file:
            n_bytes = os.fstat(file.fileno()).st_size
            described: Any = parquet.ParquetFile(file)
            groups = range(described.metadata.num_row_groups)
            sizes = [described.metadata.row_group(i).total_byte_size for i in groups]
            _check_bytes(where, max(n_bytes, sum(sizes)))
            schema: Any = described.schema_arrow
            check_size(where, described.metadata.num_rows, len(schema))
            for column in schema:
                kind = column.type.value_type if types.is_dictionary(column.type) else column.type
                if not any(getattr(types, f"is_{name}")(kind) for name in PLAIN_TYPES):
                    raise ConfigError(f"{where}, column {column.name}: expected plain values")
            # A long text that is stored once can stand in every row.
            texts = [column.name for column in schema if types.is_string(column.type)]
            table: Any = parquet.ParquetFile(file, read_dictionary=texts).read()
        _check_bytes(where, sum(map(_measure_texts, table.columns)))
        frame: Any = table.to_pandas()
        if not isinstance(frame.index, pd.RangeIndex):
            frame = frame.reset_index(names=frame.index.name or "time")
        text = frame.to_csv(index=False)
    except ConfigError:
        raise
    except (OSError, NotImplementedError, MemoryError, *FORM_ERRORS) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{where}: expected a readable Parquet file ({reason})") from error
    _check_bytes(where, len(text))
    return text


def _measure_texts(column: Any) -> int:
    """Bytes of the texts of an Arrow column, each counted as often as it stands in a row."""
    total = 0
    for chunk in column.chunks:
        if hasattr(chunk, "dictionary") and str(chunk.dictionary.type).endswith("string"):
            lengths = np.array([len(text or "") for text in chunk.dictionary.to_pylist()], int)
            counts = np.bincount(chunk.indices.drop_null().to_numpy(), minlength=len(lengths))
            total += int(lengths @ counts)
    return total


def _check_bytes(where: str, n_bytes: int) -> None:
    if n_bytes > MAX_BYTES:
        raise ConfigError(
            f"{where}: expected at most {format_size(MAX_BYTES)}, got {format_size(n_bytes)}"
        )


def _read_header(place: str, text: str, separator: str) -> list[str]:
    names = [name.strip() for name in next(csv.reader([text], delimiter=separator))]
    if len(names) == 1 and re.search(r"[\s;,|:]", names[0]):
        raise ConfigError(
            f"{place}: found the single column {names[0]!r} with the separator "
            f"{name_separator(separator)}; expected columns separated by one of "
            f"{', '.join(SEPARATORS.values())}"
        )
    seen = set[str]()
    for index, name in enumerate(names):
        if not name:
            raise ConfigError(f"{place}: column {index + 1} has no name")
        if name in seen:
            raise ConfigError(f"{place}: the column {name!r} stands twice")
        seen.add(name)
    return names


def _read_rows(
    where: str, lines: list[str], start: int, n_columns: int, separator: str
) -> tuple[list[list[str]], list[int]]:
    """Values, and the line at which each row begins. Raises: ConfigError.

    `pandas.read_csv` would fill a row that is too short with blanks, and it counts no lines.
    """
    rows: list[list[str]] = []
    row_numbers: list[int] = []
    reader = csv.reader(io.StringIO("\n".join(lines[start:]), newline=""), delimiter=separator)
    line = start + 1
    try:
        for values in reader:
            if not values:
                raise ConfigError(f"{where}, line {line}: expected values, the line is blank")
            if len(values) != n_columns:
                # 0,1,0,2 for two columns
                is_decimal = separator == "," and all(value.strip().isdigit() for value in values)
                is_hinted = is_decimal and len(values) > 1
                hint = ", which decimal commas need to be another" if is_hinted else ""
                raise ConfigError(
                    f"{where}, line {line}: expected {n_columns} values, got {len(values)}"
                    f" (the separator is {name_separator(separator)}{hint})"
                )
            rows.append([value.strip() for value in values])
            row_numbers.append(line)
            line = start + reader.line_num + 1
    except csv.Error as error:
        raise ConfigError(
            f"{where}, line {line}: expected a readable CSV file ({error})"
        ) from error
    return rows, row_numbers
