"""One run as a page sees it: followed while it is written, told as snapshots and changes."""

import json
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from slicing_rllib.monitor.history import PER_SLICE, SCALARS, History, Point
from slicing_rllib.monitor.json_lines import JsonLinesTail, read_whole
from slicing_rllib.monitor.network import network_of
from slicing_rllib.monitor.run_files import changed_s, modified_s
from slicing_rllib.monitor.untrusted import mapping, number, plain, text

MAX_EVENTS = 2_000
MAX_SUMMARY_BYTES = 4 * 2**20
MIN_REFRESH_S = 0.3
ANEW_WITHOUT = ("epoch", "cells", "config")
"""A reader whose cursor differs in one of these begins anew."""
MAP_FIELDS = ("satisfaction", "reward", "phase")


class RunView:
    """Reads a run directory for any number of readers, each from its own thread."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self.folder = folder
        self.run_id = run_id
        self._lock = threading.Lock()
        self._network: dict[str, Any] | None = None
        self._network_of_s = -1.0
        self._read_at_s = 0.0
        self._begin()

    def snapshot(self) -> dict[str, Any]:
        """All that a page needs to begin."""
        with self._lock:
            self._refresh()
            return {
                "run": self.run_id,
                "network": self._network,
                "cells": list(self._history.cells),
                "progress": [_told(point) for point in self._history.points],
                "latest": self._latest(),
                "events": list(self._events),
                **self._standing(),
            }

    def changes(self, since: dict[str, Any]) -> dict[str, Any] | None:
        """What is new since a cursor; a whole snapshot if that is not enough; None if nothing."""
        with self._lock:
            self._refresh()
            if self._cursor() == since:
                return None
            same = all(self._cursor()[key] == since.get(key) for key in ANEW_WITHOUT)
            news = self._news(since) if same else None
        return news or self.snapshot()

    def cell(self, name: str) -> dict[str, Any] | None:
        """History of a cell, or None for one that the run doesn't know."""
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
                **{field: self._history.column(field, index) for field in SCALARS},
                **{field: self._per_slice(field, index) for field in PER_SLICE},
                "neighbours": self._neighbours(name),
            }

    def _begin(self) -> None:
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
            self._begin()
            metrics, events = self._metrics.read(), self._event_lines.read()
        for row in metrics.rows:
            self._history.add(row)
        for event in events.rows:
            self._events_seen += 1
            self._events.append({"serial": self._events_seen, **_event(event)})
        self._read_at_s = time.monotonic()

    def _read_network(self) -> None:
        written_s = modified_s(self.folder / "config.yaml")
        if self._network is None or written_s != self._network_of_s:
            self._network, self._network_of_s = network_of(self.folder), written_s

    def _cursor(self) -> dict[str, Any]:
        return {
            "epoch": self._epoch,
            "config": self._network_of_s,
            "cells": len(self._history.cells),
            "row": self._history.rows_seen,
            "event": self._events_seen,
            "summary_s": modified_s(self.folder / "summary.json"),
        }

    def _news(self, since: dict[str, Any]) -> dict[str, Any]:
        points = [point for point in self._history.points if point.serial > since["row"]]
        return {
            "progress": [_told(point) for point in points],
            "latest": self._latest(),
            "events": [event for event in self._events if event["serial"] > since["event"]],
            **self._standing(),
        }

    def _standing(self) -> dict[str, Any]:
        finished_s = modified_s(self.folder / "summary.json")
        wrote_s = changed_s(self.folder)
        return {
            "cursor": self._cursor(),
            "summary": _summary(self.folder / "summary.json"),
            "finished": finished_s >= modified_s(self.folder / "metrics.jsonl") > 0,
            "quiet_s": round(max(0.0, time.time() - wrote_s), 1) if wrote_s else None,
            "unreadable_lines": self._metrics.unreadable_lines + self._event_lines.unreadable_lines,
        }

    def _latest(self) -> dict[str, list[float | None]]:
        return {field: self._history.latest(field) for field in MAP_FIELDS}

    def _per_slice(self, field: str, index: int) -> list[list[float | None]]:
        slices = range(self._history.n_slices)
        return [self._history.column(f"{field}/{i}", index) for i in slices]

    def _neighbours(self, name: str) -> list[dict[str, Any]] | None:
        cells = {cell["id"]: cell for cell in (self._network or {}).get("cells", [])}
        names = cells.get(name, {}).get("neighbours")
        if names is None:
            return None
        return [{"cell": other, "load": self._total_load(other)} for other in names]

    def _total_load(self, name: str) -> float | None:
        index = self._history.cells.get(name)
        if index is None or not self._history.points:
            return None
        loads = [series[-1] for series in self._per_slice("load", index)]
        known = [load for load in loads if load is not None]
        return round(sum(known), 4) if known else None


def _told(point: Point) -> dict[str, Any]:
    return {"serial": point.serial, **point.progress}


def _event(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "time": number(row.get("time")) or text(row.get("time"), at_most=60) or None,
        "env_step": number(row.get("env_step")),
        "kind": text(row.get("kind"), at_most=60) or "event",
        "cell": text(row.get("cell"), at_most=200) or None,
        "message": text(row.get("message")),
        "evidence": plain(mapping(row.get("evidence"))),
    }


def _summary(path: Path) -> dict[str, Any] | None:
    try:
        return plain(mapping(json.loads(read_whole(path, at_most=MAX_SUMMARY_BYTES))))
    except (OSError, ValueError, RecursionError):
        return None
