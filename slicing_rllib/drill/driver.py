"""The training under fault, as a process of its own, watched through the files of its run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from slicing_rllib.drill.errors import DrillError
from slicing_rllib.runs.run_directory import RunDirectory

POLL_S = 0.1
HANG_S = 240.0
"""Time without a sign of life after which the drill calls a training hung."""


class Driver:
    """A training that is started and resumed with `train --resume`.

    Args:
        config: its YAML file.
        run: its run directory.
        errors: file for the lines that it writes on stderr.
        environment: its environment variables.
    """

    def __init__(self, config: Path, run: Path, errors: Path, environment: dict[str, str]) -> None:
        self.environment = environment
        self.config, self.run, self.errors = config, RunDirectory(run), errors
        self.process: subprocess.Popen[bytes] | None = None
        self.reset_silence()

    def start(self) -> None:
        """Starts or resumes the training; returns at once."""
        command = [sys.executable, "-m", "slicing_rllib.drill.victim", *self.arguments]
        with self.errors.open("wb") as file:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=subprocess.DEVNULL, stderr=file
            )
        self._alive_at = time.monotonic()

    def reset_silence(self) -> None:
        """Begins to measure `longest_silence_s` anew."""
        self.longest_silence_s = 0.0
        """Longest time without a new row or event while the process ran."""
        self._alive_at, self._logs = time.monotonic(), self._measure_logs()

    def look(self) -> float:
        """Time since the last sign of life of the running process."""
        now = self._measure_logs()
        if now != self._logs or self.exit_code is not None:
            self._alive_at, self._logs = time.monotonic(), now
        silence = time.monotonic() - self._alive_at
        self.longest_silence_s = max(self.longest_silence_s, silence)
        return silence

    def watch(self, seconds: float) -> None:
        """Looks at the process for some time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.look()
            time.sleep(POLL_S)

    @property
    def arguments(self) -> list[str]:
        """Arguments of the command line."""
        return ["train", str(self.config), "--out", str(self.run.path), "--resume", "--json"]

    @property
    def pid(self) -> int:
        """Id of the running process. Raises: DrillError where there is none."""
        if self.process is None:
            raise DrillError("the training has not been started")
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """Of the process; None while it runs."""
        return None if self.process is None else self.process.poll()

    def send(self, number: signal.Signals) -> None:
        """Sends the process a signal."""
        os.kill(self.pid, number)

    def wait_for_exit(self, timeout_s: float = HANG_S) -> int:
        """The exit code. Raises: DrillError where the process does not end."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.exit_code is not None:
                return self.exit_code
            self.look()
            time.sleep(POLL_S)
        raise DrillError(f"the training did not end within {timeout_s:.0f} s")

    def wait_for_step(self, step: int) -> int:
        """Waits for a row of metrics of this step or a later one; the step of the newest row.

        Raises: DrillError where the training ends before, or shows no sign of life.
        """
        while (found := self.read_step()) < step:
            if self.exit_code == 0:
                return self.read_step()
            if self.exit_code is not None:
                raise DrillError(f"the training ended: {self.read_last_line()}")
            if self.look() > HANG_S:
                raise DrillError(f"no sign of life within {HANG_S:.0f} s after step {found}")
            time.sleep(POLL_S)
        return found

    def read_step(self) -> int:
        """Network step of the newest row of metrics; 0 without one."""
        try:
            rows = self.run.path.joinpath("metrics.jsonl").read_bytes().splitlines()
        except OSError:
            return 0
        for row in reversed(rows):
            try:
                return json.loads(row)["env_steps"]
            except (ValueError, KeyError, TypeError):
                continue
        return 0

    def read_events(self) -> list[dict[str, Any]]:
        """Events so far."""
        return self.run.events()

    def read_last_line(self) -> str:
        """The newest line on stderr, without the program's name."""
        lines = self.errors.read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("slicing-rllib: ") if lines else "no message"

    def stop(self) -> None:
        """Kills the process with its descendants, if it still runs."""
        if self.process is None or self.process.poll() is not None:
            return
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        for process in family:
            if process.is_running():
                process.kill()

    def _measure_logs(self) -> tuple[int, ...]:
        return tuple(
            path.stat().st_size if path.is_file() else 0
            for path in (self.run.path / "metrics.jsonl", self.run.path / "events.jsonl")
        )
