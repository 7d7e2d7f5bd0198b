"""Steps from env runners elsewhere: asked for, and collected in the order of the runners."""

import time
from typing import Any

from slicing_rllib.learning.cell_state import SamplingSettings
from slicing_rllib.learning.sampled_env import Step

TAG = "sample"
POLL_S = 0.5


class WorkerSampling:
    """At most one request is under way; what was collected early is kept for the next taker."""

    def __init__(self, workers: Any, timeout_s: float) -> None:
        self._workers, self._timeout_s = workers, timeout_s
        self._asked = 0
        self._kept: list[Step] | None = None

    @property
    def under_way(self) -> bool:
        return self._asked > 0 or self._kept is not None

    def ask(self, steps: int, orders: SamplingSettings) -> None:
        """Every runner that answers starts to sample; returns at once."""
        self._asked = self._workers.foreach_env_runner_async(
            lambda runner: runner.sample(num_env_steps=steps, orders=orders), tag=TAG
        )

    def take(self) -> list[Step]:
        """What was asked for, runner after runner; without those that were lost on the way."""
        steps = self._collected() if self._kept is None else self._kept
        self._kept = None
        return steps

    def keep(self) -> list[Step]:
        """Waits for what is under way, for a checkpoint; the next `take` gets the same."""
        if self.under_way and self._kept is None:
            self._kept = self._collected()
        return list(self._kept or ())

    def restore(self, steps: list[Step] | None) -> None:
        self._asked, self._kept = 0, steps or None

    def _collected(self) -> list[Step]:
        found: dict[int, list[Step]] = {}
        deadline = time.monotonic() + self._timeout_s
        while len(found) < min(self._asked, self._workers.num_healthy_remote_workers()):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            found |= dict(
                self._workers.fetch_ready_async_reqs(tags=TAG, timeout_seconds=min(left, POLL_S))
            )
        self._asked = 0
        return [step for runner in sorted(found) for step in found[runner]]
