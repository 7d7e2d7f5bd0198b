"""Turns Ctrl-C and SIGTERM into a request that long work answers between two iterations.

Says that an iteration takes long while it still does: nothing else reports until it ends.

Notices iterations without a network step, which RLlib does not report.
"""

import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import FrameType

from slicing_rllib.learning import TD3
from slicing_rllib.learning.events import EventKind

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether somebody asked to stop. A second Ctrl-C raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.is_requested = False

    def request(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler."""
        if self.is_requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.is_requested = True


@contextmanager
def catch_signals() -> Iterator[Interruption]:
    """Catches the signals inside the block and restores their handlers after it."""
    interruption = Interruption()
    before = {number: signal.signal(number, interruption.request) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


FIRST_REPORT_S = 45.0
"""Each further report comes after twice the time of the one before."""


@contextmanager
def report_silence(
    report: Callable[[float], object], first_s: float = FIRST_REPORT_S
) -> Generator[None]:
    """Calls `report`, in a thread of its own, with the seconds that the block has taken so far.

    The first call is after `first_s`, each further one after twice the time.
    """
    is_done = threading.Event()

    def watch() -> None:
        elapsed, wait = 0.0, first_s
        while not is_done.wait(wait):
            elapsed += wait
            report(elapsed)
            wait = elapsed

    thread = threading.Thread(target=watch, name="silence watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_done.set()
        thread.join()


MAX_STALLED_ITERATIONS = 3
WORKER_RESTART_TIMEOUT_S = 180.0
"""How long a run waits for Ray to restart the last of its env runners."""
WORKER_POLL_S = 1.0
"""Pause between two iterations while no env runner answers."""


class StallWatch:
    """Counts iterations without a step.

    While Ray restarts the last env runner, time counts instead: iterations are short then.
    """

    def __init__(self, algorithm: TD3, write_event: Callable[[EventKind, str], None]) -> None:
        self._algorithm, self._write_event = algorithm, write_event
        self.stalled_iterations = 0
        self.waited_s = 0.0
        """Time since the last step while no env runner answers; else 0."""
        self._last_step_at = time.monotonic()

    def check(self, steps_before: int) -> bool:
        """Whether the run should give up after an iteration that began at `steps_before`."""
        now, self.waited_s = time.monotonic(), 0.0
        if self._algorithm.env_steps > steps_before:
            self.stalled_iterations, self._last_step_at = 0, now
            return False
        self.stalled_iterations += 1
        has_time = now - self._last_step_at < WORKER_RESTART_TIMEOUT_S
        if self._algorithm.worker_health.lost and has_time:
            if self.stalled_iterations == 1:
                self._write_event(
                    EventKind.STALLED, "no env runner answers; waiting for Ray to restart one"
                )
            self.waited_s = now - self._last_step_at
            time.sleep(WORKER_POLL_S)
            return False
        self._write_event(EventKind.STALLED, f"iteration {self._algorithm.iteration} made no step")
        return self.stalled_iterations >= MAX_STALLED_ITERATIONS
