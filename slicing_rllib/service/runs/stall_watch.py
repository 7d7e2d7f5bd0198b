"""Notices iterations without a network step, which RLlib does not report."""

import time
from collections.abc import Callable

from slicing_rllib.learning import TD3
from slicing_rllib.service.telemetry.event_kinds import RunEventKind

MAX_STALLED_ITERATIONS = 3
WORKER_RESTART_TIMEOUT_S = 180.0
"""How long a run waits for Ray to restart the last of its env runners."""
WORKER_POLL_S = 1.0
"""Pause between two iterations while no env runner answers."""


class StallWatch:
    """Counts iterations without a step.

    While Ray restarts the last env runner, time counts instead: iterations are short then.
    """

    def __init__(self, algorithm: TD3, write_event: Callable[[RunEventKind, str], None]) -> None:
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
                    RunEventKind.STALLED, "no env runner answers; waiting for Ray to restart one"
                )
            self.waited_s = now - self._last_step_at
            time.sleep(WORKER_POLL_S)
            return False
        self._write_event(
            RunEventKind.STALLED, f"iteration {self._algorithm.iteration} made no step"
        )
        return self.stalled_iterations >= MAX_STALLED_ITERATIONS
