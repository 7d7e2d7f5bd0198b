"""Steps sampled by remote env runners: requested, and collected in the order of the runners."""

import time
from collections.abc import Callable
from typing import Any

from slicing_rllib.learning.cell_state import SamplingSettings
from slicing_rllib.learning.env_runner import Sampled
from slicing_rllib.learning.sampled_env import Step

TAG = "sample"
POLL_S = 0.5


class WorkerSampling:
    """At most one request is under way. Steps that were collected early wait for `take`."""

    def __init__(
        self, workers: Any, timeout_s: float, receive: Callable[[int, Sampled], None]
    ) -> None:
        """`workers` is RLlib's EnvRunnerGroup; `timeout_s` bounds the wait for one request.

        `receive` is called with the index and the answer of every env runner.
        """
        self._workers, self._timeout_s, self._receive = workers, timeout_s, receive
        self._n_requested = 0
        self._kept: list[Step] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether steps were requested that nobody has taken yet."""
        return self._n_requested > 0 or self._kept is not None

    def request(self, steps: int, settings: SamplingSettings) -> None:
        """Let every healthy env runner sample so many steps; returns at once."""
        self._n_requested = self._workers.foreach_env_runner_async(
            lambda runner: runner.sample_and_report(steps, settings), tag=TAG
        )

    def take(self) -> list[Step]:
        """The requested steps, runner by runner, without those of runners that were lost."""
        steps = self._collect() if self._kept is None else self._kept
        self._kept = None
        return steps

    def keep(self) -> list[Step]:
        """Wait for steps that are under way, for a checkpoint; the next `take` returns them."""
        if self.is_under_way and self._kept is None:
            self._kept = self._collect()
        return list(self._kept or ())

    def restore(self, steps: list[Step] | None) -> None:
        """Put steps back that were kept in a checkpoint."""
        self._n_requested, self._kept = 0, steps or None

    def _collect(self) -> list[Step]:
        collected: dict[int, Sampled] = {}
        deadline = time.monotonic() + self._timeout_s
        while len(collected) < min(self._n_requested, self._workers.num_healthy_remote_workers()):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            collected |= dict(
                self._workers.fetch_ready_async_reqs(tags=TAG, timeout_seconds=min(left, POLL_S))
            )
        self._n_requested = 0
        for runner in sorted(collected):
            self._receive(runner, collected[runner])
        return [step for runner in sorted(collected) for step in collected[runner].steps]
