"""A training in a process of its own that faults strike, watched through the files of its run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import psutil
import yaml
from ray_nodes import RayNodes

from slicing_rllib.runs.checkpoints import list_checkpoints
from slicing_rllib.runs.run_directory import RunDirectory

STEPS = 6000
"""Of a training on the driver alone."""
ITERATION_STEPS, CHECKPOINT_STEPS = 20, 100
ALLOWED_LOSS = CHECKPOINT_STEPS + ITERATION_STEPS
"""Most steps that may have to be made again after a training has ended at any time."""
EXIT_S = 120.0
"""How long a training may take to end after a fault that ends it."""
HANG_S = 240.0
"""Time without a sign of life after which a training counts as hung."""
STALL_S = 60.0
"""Longest time that a training may be without progress and without saying so."""
POLL_S = 0.05
UNNOTICED = "no one, as the training went on"
"""What noticed a fault that asks for no reaction."""
Found = TypeVar("Found")


class Recovery(NamedTuple):
    """How a training went on after a fault."""

    noticed: str
    """What noticed the fault: an event, an exit code with its line, or `UNNOTICED`."""
    seconds: float
    """From the fault to the next new row of metrics, with the start of a new process."""
    steps_lost: int
    """Steps that had been made and had to be made again."""
    silence_s: float
    """Longest time in which the running training wrote neither a row nor an event."""


class DisturbedTraining:
    """A training that is started and resumed with `train --resume`.

    Args:
        run: its run directory, which it makes.
        log_folder: folder for its config and its lines on stderr.
        nodes: the cluster that it uses.
        rng: draws times and victims of faults.
        config: settings that differ from those of `make_config`.
    """

    def __init__(
        self,
        run: Path,
        log_folder: Path,
        nodes: RayNodes,
        rng: np.random.Generator,
        **config: Any,
    ) -> None:
        self.run, self.nodes, self.rng = RunDirectory(run), nodes, rng
        path = log_folder / f"{run.name}.yaml"
        path.write_text(yaml.safe_dump(make_config(**config)))
        self.arguments = ["train", str(path), "--out", str(run), "--resume", "--json"]
        self._errors = log_folder / f"{run.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.has_failed = False
        """Whether it did not recover from a fault."""
        self.begin_fault()

    def start(self) -> None:
        """Starts or resumes the training; returns at once."""
        victim = Path(__file__).with_name("victim.py")
        with self._errors.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, str(victim), *self.arguments],
                env=self.nodes.environment, stdout=subprocess.DEVNULL, stderr=file,
            )  # fmt: skip
        self._alive_at = time.monotonic()

    def stop(self) -> None:
        """Kills the process with its descendants, if it still runs."""
        if self._process is None or self._process.poll() is not None:
            return
        family = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()
        for process in family:
            if process.is_running():
                process.kill()

    @contextmanager
    def until_it_recovers(self) -> Iterator[None]:
        """Marks the training as failed unless the block ends without an exception."""
        self.has_failed = True
        yield
        self.has_failed = False

    def begin_fault(self) -> None:
        """Takes the time and the state just before a fault."""
        self._events_before = len(self.run.events())
        self.step = self.read_step()
        self._silence_s = 0.0
        self._alive_at, self._log_sizes = time.monotonic(), self._measure_logs()
        self._struck_at = time.monotonic()

    def send(self, number: signal.Signals) -> None:
        """Sends the process a signal."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Ends the process at once."""
        self.begin_fault()
        self.send(signal.SIGKILL)
        self.wait_for_exit()

    def expect_progress(self, event: str | None = None) -> Recovery:
        """The recovery from a fault after which the process itself goes on, perhaps with an event.

        Raises: AssertionError where it ends, says nothing for too long, or the event is missing.
        """
        self.wait_for_step(self.step + 2 * ITERATION_STEPS)
        seconds = time.monotonic() - self._struck_at
        if event:
            self.wait_until(lambda: event in self.list_new_events() or None, f"no event {event}")
        return self._conclude(f"event {event}" if event else UNNOTICED, seconds, 0)

    def expect_resume(
        self, noticed: str, *, code: int, allowed_loss: int = ALLOWED_LOSS
    ) -> Recovery:
        """Resumes the training that has ended; the recovery.

        Args:
            noticed: what noticed the fault.
            code: exit code that was expected.
            allowed_loss: most steps that may have to be made again.
        """
        reached, ended_with = self.read_step(), self.exit_code
        self.start()
        resumed = self._wait_for_resume()
        self.wait_for_step(resumed + ITERATION_STEPS)
        seconds, lost = time.monotonic() - self._struck_at, max(reached - resumed, 0)
        assert ended_with == code, f"expected exit code {code}, got {ended_with}"
        assert lost <= allowed_loss, f"lost {lost} steps, expected at most {allowed_loss}"
        return self._conclude(noticed, seconds, lost)

    def describe_end(self, event: str) -> str:
        """What the training said when it ended."""
        known = f"event {event}, " if event in self.list_new_events() else ""
        return f"{known}exit code {self.exit_code} with one line"

    def list_new_events(self) -> list[str]:
        """Kinds of the events since `begin_fault`."""
        return [event["kind"] for event in self.run.events()[self._events_before :]]

    @property
    def exit_code(self) -> int | None:
        """Of the process; None while it runs."""
        return None if self._process is None else self._process.poll()

    def watch(self, seconds: float) -> None:
        """Looks at the process for some time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._look()
            time.sleep(POLL_S)

    def wait_for_exit(self, timeout_s: float = HANG_S) -> int:
        """The exit code."""
        return self.wait_until(lambda: self.exit_code, "the training did not end", timeout_s)

    def wait_for_step(self, step: int) -> None:
        """Waits for a row of metrics of this step or a later one, or for the end of the run."""
        while (found := self.read_step()) < step and self.exit_code != 0:
            assert self.exit_code is None, f"the training ended: {self.read_last_line()}"
            silence = self._look()
            assert silence < HANG_S, f"no sign of life within {HANG_S:.0f} s after step {found}"
            time.sleep(POLL_S)

    def wait_for_checkpoints(self, count: int) -> None:
        """Waits until the run has so many checkpoints, of which one was written just now."""
        self.wait_for_step(self.read_step() + ALLOWED_LOSS)
        folder = self.run.checkpoints
        self.wait_until(
            lambda: len(list_checkpoints(folder)) >= count or None, "no checkpoint was written"
        )

    def wait_for_env_runners(self) -> None:
        """Waits until all lost env runners are back, so that the next loss can be noticed."""
        self.wait_until(lambda: not self._list_lost() or None, "env runners did not come back")

    def wait_until(
        self, find: Callable[[], Found | None], problem: str, timeout_s: float = EXIT_S
    ) -> Found:
        """What `find` returns. Raises: AssertionError where that is None for too long."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = find()
            if found is not None:
                return found
            self._look()
            time.sleep(POLL_S)
        raise AssertionError(f"{problem} within {timeout_s:.0f} s")

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

    def read_last_line(self) -> str:
        """The newest line on stderr, without the program's name."""
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("slicing-rllib: ") if lines else "no message"

    def read_policies(self) -> bytes:
        """The final weights."""
        return (self.run.path / "policies.safetensors").read_bytes()

    def _list_lost(self) -> set[int]:
        """Env runners of the running process that are away."""
        lost: set[int] = set()
        for event in self.run.events():
            match event["kind"]:
                case "started" | "resumed":
                    lost.clear()
                case "worker_lost":
                    lost.add(event["evidence"]["worker"])
                case "worker_restarted":
                    lost.discard(event["evidence"]["worker"])
        return lost

    def _wait_for_resume(self) -> int:
        """The step at which the training went on; 0 where it started again."""
        first = len(self.run.events())

        def find() -> int | None:
            assert self.exit_code in (None, 0), f"cannot be resumed: {self.read_last_line()}"
            for event in self.run.events()[first:]:
                if event["kind"] in ("resumed", "started"):
                    return event["env_step"]
            return None

        return self.wait_until(find, "was not resumed")

    def _conclude(self, noticed: str, seconds: float, lost: int) -> Recovery:
        silence = self._silence_s
        assert silence <= STALL_S, f"{silence:.0f} s without a row or event"
        return Recovery(noticed, seconds, lost, silence)

    def _look(self) -> float:
        """Time since the last sign of life of the running process."""
        now = self._measure_logs()
        if now != self._log_sizes or self.exit_code is not None:
            self._alive_at, self._log_sizes = time.monotonic(), now
        silence = time.monotonic() - self._alive_at
        self._silence_s = max(self._silence_s, silence)
        return silence

    def _measure_logs(self) -> tuple[int, ...]:
        return tuple(
            path.stat().st_size if path.is_file() else 0
            for path in (self.run.path / "metrics.jsonl", self.run.path / "events.jsonl")
        )


def make_config(*, steps: int = STEPS, **more: Any) -> dict[str, Any]:
    """A small training of `steps` steps with frequent checkpoints."""
    return {
        "name": "faults",
        "base": "paper",
        "learning": {
            "exploration_steps": 100,
            "training_steps": steps - 100,
            "steps_per_iteration": ITERATION_STEPS,
            "actor_hiddens": [16],
            "critic_hiddens": [16],
            "batch_size": 16,
            "replay_capacity": 1000,
        },
        "evaluation": {
            "policies": ["td3", "equal"],
            "steps": 2,
            "seeds": 1,
            "every_steps": 100_000_000,
        },
        "checkpoint": {"every_steps": CHECKPOINT_STEPS, "keep": 3},
        **more,
    }
