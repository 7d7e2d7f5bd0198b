"""What a candidate version would have answered: differences from the live version."""

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slicing_rllib.service.serving.decisions.decision import Decision


class ShadowComparison:
    """Counts and logs differences between the shares of two versions.

    Args:
        log_file: file to which a line per cell and request is appended; None writes none.
    """

    def __init__(self, log_file: str | None) -> None:
        self._log_file = None if log_file is None else Path(log_file)
        self._rows: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def add(self, live: Mapping[str, Decision], candidate: Mapping[str, Decision]) -> None:
        """Compares the decisions of one request."""
        lines = []
        with self._lock:
            for cell, ours in live.items():
                theirs = candidate.get(cell)
                if ours.policy is None or theirs is None or theirs.policy is None:
                    continue
                difference = max(
                    abs(a - b) for a, b in zip(ours.shares, theirs.shares, strict=True)
                )
                self._count(cell, ours.policy.label, theirs.policy.label, difference)
                lines.append(_make_line(cell, ours, theirs))
        if self._log_file is not None and lines:
            with self._log_file.open("a", encoding="utf-8") as file:
                file.write("".join(lines))

    def summarise(self) -> dict[str, dict[str, Any]]:
        """By cell: both versions, the number of decisions, mean and largest difference."""
        with self._lock:
            return {cell: dict(row) for cell, row in self._rows.items()}

    def _count(self, cell: str, live: str, candidate: str, difference: float) -> None:
        row = self._rows.get(cell)
        if row is None or (row["live"], row["candidate"]) != (live, candidate):
            row = {"live": live, "candidate": candidate, "decisions": 0}
            row |= {"mean_difference": 0.0, "largest_difference": 0.0}
            self._rows[cell] = row
        row["decisions"] += 1
        row["mean_difference"] += (difference - row["mean_difference"]) / row["decisions"]
        row["largest_difference"] = max(row["largest_difference"], difference)


def _make_line(cell: str, live: Decision, candidate: Decision) -> str:
    row = {
        "time": time.time(),
        "cell": cell,
        "live": live.policy and live.policy.label,
        "candidate": candidate.policy and candidate.policy.label,
        "live_shares": dict(zip(live.slices, live.shares, strict=True)),
        "candidate_shares": dict(zip(candidate.slices, candidate.shares, strict=True)),
        "live_fallback": live.reason,
        "candidate_fallback": candidate.reason,
    }
    return json.dumps(row) + "\n"
