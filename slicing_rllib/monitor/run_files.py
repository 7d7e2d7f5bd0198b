"""Finds the run directories in a folder, and nothing outside of it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RUN_FILES = ("metrics.jsonl", "events.jsonl", "summary.json")
MAX_DEPTH = 3
MAX_RUNS = 500
MAX_FOLDERS = 5_000


def find_runs(root: Path) -> dict[str, Path]:
    """Run directories by their ID, the path relative to the root; "." is the root itself."""
    runs: dict[str, Path] = {}
    for number, folder in enumerate(_iterate_folders(root, MAX_DEPTH)):
        if len(runs) >= MAX_RUNS or number >= MAX_FOLDERS:
            break
        if any((folder / name).is_file() for name in RUN_FILES):
            runs[folder.relative_to(root).as_posix()] = folder
    return runs


def list_newest_first(runs: dict[str, Path]) -> list[dict[str, Any]]:
    """ID, name and time of the last change of each run, for the page's list of runs."""
    rows = [
        {"id": run_id, "name": folder.name or run_id, "changed_s": read_change_time_s(folder)}
        for run_id, folder in runs.items()
    ]
    return sorted(rows, key=lambda run: -run["changed_s"])


def read_change_time_s(folder: Path) -> float:
    """When a run last wrote, in seconds since the epoch; 0 if it has not written yet."""
    return max(read_modification_time_s(folder / name) for name in RUN_FILES)


def read_modification_time_s(path: Path) -> float:
    """When a file was last written, in seconds since the epoch; 0 if it does not exist."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def _iterate_folders(folder: Path, depth: int) -> Iterator[Path]:
    """The folder and its subfolders up to a depth. Links are not followed."""
    yield folder
    if depth == 0:
        return
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _may_hold_runs(entry))
    except OSError:
        return
    for name in names[:MAX_FOLDERS]:
        yield from _iterate_folders(folder / name, depth - 1)


def _may_hold_runs(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and entry.name not in ("checkpoints", "figures")
