"""Finds run directories below a root, and nothing outside it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RUN_FILES = ("metrics.jsonl", "events.jsonl", "summary.json")
MAX_DEPTH = 3
MAX_RUNS = 500
MAX_FOLDERS = 5_000


def find_runs(root: Path) -> dict[str, Path]:
    """Run id (path below the root) -> directory; the root itself is "." if it is a run."""
    runs: dict[str, Path] = {}
    for number, folder in enumerate(_folders(root, MAX_DEPTH)):
        if len(runs) >= MAX_RUNS or number >= MAX_FOLDERS:
            break
        if any((folder / name).is_file() for name in RUN_FILES):
            runs[folder.relative_to(root).as_posix()] = folder
    return runs


def newest_first(runs: dict[str, Path]) -> list[dict[str, Any]]:
    """What the run picker lists."""
    listed = [
        {"id": run_id, "name": folder.name or run_id, "changed_s": changed_s(folder)}
        for run_id, folder in runs.items()
    ]
    return sorted(listed, key=lambda run: -run["changed_s"])


def changed_s(folder: Path) -> float:
    """When a run last wrote, seconds since the epoch; 0 for one that has not."""
    return max(modified_s(folder / name) for name in RUN_FILES)


def modified_s(path: Path) -> float:
    """When a file was last written, seconds since the epoch; 0 if there is none."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """The folder and those below it; links are not followed."""
    yield folder
    if depth == 0:
        return
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_folder(entry))
    except OSError:
        return
    for name in names[:MAX_FOLDERS]:
        yield from _folders(folder / name, depth - 1)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and entry.name not in ("checkpoints", "figures")
