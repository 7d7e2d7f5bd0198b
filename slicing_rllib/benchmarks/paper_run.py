"""Where the seconds of the paper's run go, from the shell and back."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from slicing_rllib.benchmarks.rows import Row, make_row


def run(*, on_message: Callable[[str], None]) -> Iterator[Row]:
    """Runs `train paper` in a process of its own and yields the duration of each part, in s.

    The ratio of a row is the share of that part in the total. Raises: CalledProcessError if the
    command fails.

    Args:
        on_message: Receives one line of text before the run.
    """
    on_message("running `train paper`: 8,500 network steps and the final evaluation")
    with tempfile.TemporaryDirectory() as folder:
        run_folder = Path(folder) / "paper"
        command = [sys.executable, "-m", "slicing_rllib", "train", "paper", "--out", run_folder]
        start_time, started = time.time(), time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        total_s = time.monotonic() - started
        summary = json.loads((run_folder / "summary.json").read_text(encoding="utf-8"))
        start_up_s = _read_started_event(run_folder)["time"] - start_time
    parts_s = {"start_up": start_up_s, **summary["seconds_by_part"]}
    parts_s["training_beside"] = summary["seconds"] - sum(summary["seconds_by_part"].values())
    parts_s["evaluation_and_pictures"] = total_s - start_up_s - summary["seconds"]
    for part, part_s in {"total": total_s, **parts_s}.items():
        name = f"learning.paper_run.{part}"
        yield make_row(name, part_s, "s", reference="total", ratio=part_s / total_s)


def _read_started_event(run_folder: Path) -> dict[str, Any]:
    lines = (run_folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return next(event for event in map(json.loads, lines) if event["kind"] == "started")
