"""Parquet files become CSV files, which the simulator reads."""

import os
from pathlib import Path

import pandas as pd

from slicing_rllib.service.errors import ConfigError
from slicing_rllib.storage import require_regular
from slicing_rllib.storage.regular_file import GIB

SUFFIXES = (".parquet", ".pq")
MAX_BYTES = GIB


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
        require_regular(path, MAX_BYTES)
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
