"""A run as the page shows it: found in a folder, read as snapshots and changes while it grows."""

import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from slicing_rllib.monitor.history import (
    NEWEST,
    PER_SLICE,
    SCALARS,
    History,
    Window,
    compute_window,
)
from slicing_rllib.monitor.network import read_network
from slicing_rllib.monitor.untrusted_values import to_mapping, to_number, to_plain, to_text
from slicing_rllib.storage import read_json
from slicing_rllib.storage.foreign_files import JsonLinesTail

WITHOUT_RUNS = ("checkpoints", "figures")
"""Folders in which no runs are searched for."""
RUN_FILES = ("metrics.jsonl", "events.jsonl", "summary.json")
MAX_DEPTH = 3
MAX_RUNS = 500
MAX_FOLDERS = 5_000
MAX_EVENTS = 2_000
MAX_SUMMARY_BYTES = 4 * 2**20
MIN_REFRESH_S = 0.3
SNAPSHOT_KEYS = ("epoch", "cells", "config")
"""If one of these keys of a reader's cursor has changed, the reader gets a new snapshot."""
MAP_FIELDS = ("satisfaction", "reward", "phase")


def find_runs(root: Path) -> dict[str, Path]:
    """Run directories by their ID, the path relative to the root; "." is the root itself."""
    runs: dict[str, Path] = {}
    # Links to folders are not followed.
    for number, (path, names, _) in enumerate(os.walk(root)):
        folder = Path(path)
        is_deepest = len(folder.relative_to(root).parts) >= MAX_DEPTH
        names[:] = [] if is_deepest else sorted({*names}.difference(WITHOUT_RUNS))
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


class RunView:
    """Reads a run directory for any number of readers in different threads.

    Args:
        folder: the run directory.
        run_id: the run's ID on the page.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self.folder = folder
        self.run_id = run_id
        self._lock = threading.Lock()
        self._network: dict[str, Any] | None = None
        self._network_time_s = -1.0
        self._read_at_s = 0.0
        self._reset()

    def make_snapshot(self, window: Window = NEWEST) -> dict[str, Any]:
        """The whole state of the run, with means over a window of network steps."""
        with self._lock:
            self._refresh()
            return {
                "run": self.run_id,
                "network": self._network,
                "cells": list(self._history.cells),
                "progress": self._list_progress(0),
                **self._read_state(window),
                "events": list(self._events),
            }

    def read_changes(self, since: dict[str, Any], window: Window = NEWEST) -> dict[str, Any] | None:
        """What has changed since a cursor: the changes, a snapshot, or None if nothing has.

        Args:
            since: the `cursor` of the reader's last snapshot or changes; {} at first.
            window: network steps that means are over.
        """
        with self._lock:
            self._refresh()
            if self._make_cursor() == since:
                return None
            if all(self._make_cursor()[key] == since.get(key) for key in SNAPSHOT_KEYS):
                return {
                    "progress": self._list_progress(since["row"]),
                    **self._read_state(window),
                    "events": [e for e in self._events if e["serial"] > since["event"]],
                }
        return self.make_snapshot(window)

    def read_cell(self, name: str) -> dict[str, Any] | None:
        """The history of a cell; None if the run has no such cell."""
        with self._lock:
            self._refresh()
            index = self._history.cells.get(name)
            if index is None:
                return None
            points = self._history.points
            return {
                "cell": name,
                "iteration": [point.progress["iteration"] for point in points],
                "env_steps": [point.progress["env_steps"] for point in points],
                "steps": [point.progress["steps"] for point in points],
                **{field: self._history.read_series(field, index) for field in SCALARS},
                **{field: self._read_slices(field, index) for field in PER_SLICE},
                "neighbours": self._read_neighbours(name),
            }

    def _reset(self) -> None:
        self._metrics = JsonLinesTail(self.folder / "metrics.jsonl")
        self._event_lines = JsonLinesTail(self.folder / "events.jsonl")
        self._history = History()
        self._events: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS)
        self._events_seen = 0
        self._epoch = time.time_ns()

    def _refresh(self) -> None:
        if time.monotonic() - self._read_at_s < MIN_REFRESH_S:
            return
        self._read_network()
        metrics, events = self._metrics.read(), self._event_lines.read()
        if metrics.restarted or events.restarted:
            self._reset()
            metrics, events = self._metrics.read(), self._event_lines.read()
        for row in metrics.rows:
            self._history.add_row(row)
        for event in events.rows:
            self._events_seen += 1
            self._events.append({"serial": self._events_seen, **_read_event(event)})
        self._read_at_s = time.monotonic()

    def _read_network(self) -> None:
        written_s = read_modification_time_s(self.folder / "config.yaml")
        if self._network is None or written_s != self._network_time_s:
            self._network, self._network_time_s = read_network(self.folder), written_s

    def _make_cursor(self) -> dict[str, Any]:
        return {
            "epoch": self._epoch,
            "config": self._network_time_s,
            "cells": len(self._history.cells),
            "row": self._history.rows_seen,
            "event": self._events_seen,
            "summary_s": read_modification_time_s(self.folder / "summary.json"),
        }

    def _read_state(self, window: Window) -> dict[str, Any]:
        """What snapshots and changes both have."""
        exploration_steps = (self._network or {}).get("exploration_steps", 0)
        finished_s = read_modification_time_s(self.folder / "summary.json")
        changed_s = read_change_time_s(self.folder)
        return {
            "latest": {field: self._history.read_latest(field) for field in MAP_FIELDS},
            "window": compute_window(self._history, window, exploration_steps),
            "cursor": self._make_cursor(),
            "summary": _read_summary(self.folder / "summary.json"),
            "finished": finished_s >= read_modification_time_s(self.folder / "metrics.jsonl") > 0,
            "quiet_s": round(max(0.0, time.time() - changed_s), 1) if changed_s else None,
            "unreadable_lines": self._metrics.unreadable_lines + self._event_lines.unreadable_lines,
        }

    def _list_progress(self, after: int) -> list[dict[str, Any]]:
        """Values of the whole run by iteration, of the rows after that serial number."""
        points = [point for point in self._history.points if point.serial > after]
        return [{"serial": point.serial, **point.progress} for point in points]

    def _read_slices(self, field: str, index: int) -> list[list[float | None]]:
        slices = range(self._history.n_slices)
        return [self._history.read_series(f"{field}/{i}", index) for i in slices]

    def _read_neighbours(self, name: str) -> list[dict[str, Any]] | None:
        cells = {cell["id"]: cell for cell in (self._network or {}).get("cells", [])}
        names = cells.get(name, {}).get("neighbours")
        if names is None:
            return None
        return [{"cell": other, "load": self._compute_load(other)} for other in names]

    def _compute_load(self, name: str) -> float | None:
        index = self._history.cells.get(name)
        if index is None or not self._history.points:
            return None
        loads = [series[-1] for series in self._read_slices("load", index)]
        known = [load for load in loads if load is not None]
        return round(sum(known), 4) if known else None


def _read_event(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "time": to_number(row.get("time")) or to_text(row.get("time"), max_length=60) or None,
        "env_step": to_number(row.get("env_step")),
        "kind": to_text(row.get("kind"), max_length=60) or "event",
        "cell": to_text(row.get("cell"), max_length=200) or None,
        "message": to_text(row.get("message")),
        "evidence": to_plain(to_mapping(row.get("evidence"))),
    }


def _read_summary(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path, MAX_SUMMARY_BYTES, follow_links=False)
        return to_plain(to_mapping(content))
    except (OSError, ValueError):
        return None
