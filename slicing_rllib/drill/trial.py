"""A training that faults are injected into, and what happened after one of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from slicing_rllib.drill.cluster import DrillCluster
from slicing_rllib.drill.driver import Driver
from slicing_rllib.drill.errors import DrillError
from slicing_rllib.runs.checkpoints import list_checkpoints

EXIT_S = 120.0
"""How long a training may take to end after a fault that ends it."""
POLL_S = 0.01
UNNOTICED = "no one, as the training went on"
"""What noticed a fault that asks for no reaction."""
Found = TypeVar("Found")
STALL_S = 60.0
"""Longest time that a training may be without progress and without saying so."""


class Injection(NamedTuple):
    """What one fault did."""

    fault: str
    """Kind of the fault."""
    step: int
    """Network step at which it struck."""
    noticed: str
    """What noticed it: an event, an exit code with its line, or `UNNOTICED`."""
    recovery_s: float
    """Time from the fault to the next new row of metrics, restarts by the drill included."""
    steps_lost: int
    """Steps that had been made and had to be made again."""
    silence_s: float
    """Longest time in which the running training wrote neither a row nor an event."""
    problem: str
    """What did not go as promised; empty if all did."""


@dataclass
class Trial:
    """One training with all that faults need.

    Fields: its process, the cluster, whose folder can be filled up, random numbers, and the steps
    between its checkpoints.
    """

    driver: Driver
    cluster: DrillCluster
    rng: np.random.Generator
    checkpoint_steps: int
    iteration_steps: int
    disk: Path | None
    """Mount point of the run's own small file system; None where mounting is not permitted."""
    events_before: int = field(default=0, init=False)
    step: int = field(default=0, init=False)
    started: float = field(default=0.0, init=False)

    def begin(self) -> None:
        """Takes the time and the state just before a fault."""
        self.events_before = len(self.driver.read_events())
        self.step = self.driver.read_step()
        self.driver.reset_silence()
        self.started = time.monotonic()

    def list_new_events(self) -> list[str]:
        """Kinds of the events since `begin`."""
        return [event["kind"] for event in self.driver.read_events()[self.events_before :]]

    def go_on(self, fault: str, expected: str | None) -> Injection:
        """What happened where the training itself goes on: progress, and the expected event."""
        self.driver.wait_for_step(self.step + 2 * self.iteration_steps)
        recovery = time.monotonic() - self.started
        found = self._wait_for_event(expected) if expected else ""
        problem = f"expected the event {expected}" if expected and not found else ""
        return self._report(fault, found or UNNOTICED, recovery, 0, problem)

    def resume(self, fault: str, noticed: str, *, code: int, allowed_loss: int) -> Injection:
        """What happened where the training ended: resumes it and waits for progress.

        Args:
            fault: its kind.
            noticed: what noticed it.
            code: exit code that was expected.
            allowed_loss: steps that may have to be made again.
        """
        reached, left = self.driver.read_step(), self.driver.exit_code
        self.driver.start()
        resumed = self._wait_for_resume()
        self.driver.wait_for_step(resumed + self.iteration_steps)
        recovery = time.monotonic() - self.started
        lost = max(reached - resumed, 0)
        problem = ""
        if left != code:
            problem = f"expected exit code {code}, got {left}"
        elif lost > allowed_loss:
            problem = f"lost {lost} steps, expected at most {allowed_loss}"
        return self._report(fault, noticed, recovery, lost, problem)

    def make_failed_injection(self, fault: str, problem: str) -> Injection:
        """What happened where the training did not recover."""
        took = time.monotonic() - self.started
        silence = self.driver.longest_silence_s
        return Injection(fault, self.step, "nothing", took, 0, silence, problem)

    def wait_for_workers(self) -> None:
        """Waits until all lost env runners are back, so that the next loss can be noticed."""
        wait_until(lambda: None if self._list_lost() else True, "env runners did not come back")

    def wait_for_checkpoints(self, count: int) -> list[Path]:
        """The run's checkpoints, once there are so many, of which one was written just now."""
        first = self.driver.read_step()
        self.driver.wait_for_step(first + self.checkpoint_steps + self.iteration_steps)

        def look() -> list[Path] | None:
            found = list_checkpoints(self.driver.run.checkpoints)
            return found if len(found) >= count else None

        return wait_until(look, "checkpoints were not written")

    def _list_lost(self) -> set[int]:
        """Env runners of the running process that are away."""
        lost: set[int] = set()
        for event in self.driver.read_events():
            match event["kind"]:
                case "started" | "resumed":
                    lost.clear()
                case "worker_lost":
                    lost.add(event["evidence"]["worker"])
                case "worker_restarted":
                    lost.discard(event["evidence"]["worker"])
        return lost

    def _wait_for_event(self, kind: str) -> str:
        deadline = time.monotonic() + EXIT_S
        while time.monotonic() < deadline and self.driver.exit_code is None:
            if kind in self.list_new_events():
                return f"event {kind}"
            self.driver.look()
            time.sleep(0.1)
        return f"event {kind}" if kind in self.list_new_events() else ""

    def _wait_for_resume(self) -> int:
        """The step at which the training went on; 0 where it started again."""
        first = len(self.driver.read_events())
        deadline = time.monotonic() + EXIT_S
        while time.monotonic() < deadline:
            for event in self.driver.read_events()[first:]:
                if event["kind"] in ("resumed", "started"):
                    return event["env_step"]
            self.driver.look()
            if self.driver.exit_code not in (None, 0):
                raise DrillError(f"cannot be resumed: {self.driver.read_last_line()}")
            time.sleep(0.1)
        raise DrillError("was not resumed")

    def _report(
        self, fault: str, noticed: str, recovery_s: float, lost: int, problem: str
    ) -> Injection:
        silence = self.driver.longest_silence_s
        if not problem and silence > STALL_S:
            problem = f"{silence:.0f} s without a row or event"
        return Injection(fault, self.step, noticed, recovery_s, lost, silence, problem)


def wait_until(look: Callable[[], Found | None], problem: str, timeout_s: float = EXIT_S) -> Found:
    """What `look` finds. Raises: DrillError with the problem where that is nothing for too long."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(POLL_S)
    raise DrillError(problem)
