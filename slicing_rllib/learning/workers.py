"""Env runners in processes of their own: the steps that they sample, and whether they live."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray

from slicing_rllib.learning.env_runner import Sampled
from slicing_rllib.learning.sampled_env import SamplingSettings, Step
from slicing_rllib.policies.events import Event, EventKind

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


ANSWER_TIMEOUT_S = 30.0


class WorkerHealth:
    """Notices env runners that are lost and those that were restarted.

    RLlib continues with fewer env runners without saying so; Ray restarts them on another node if
    there is room.
    """

    def __init__(self, workers: Any) -> None:
        """`workers` is RLlib's EnvRunnerGroup."""
        self._workers = workers
        self._homes: dict[int, tuple[str, int]] = {}
        """Node id and process of each env runner."""
        self._healthy: set[int] | None = None
        self._restarts = 0

    @property
    def nodes(self) -> dict[int, str]:
        """Node id of each env runner, as last known."""
        return {runner: node for runner, (node, _) in self._homes.items()}

    @property
    def lost(self) -> bool:
        """Whether no env runner answers although some were started."""
        return bool(self._healthy is not None and not self._workers.healthy_env_runner_ids())

    def check(self) -> Iterator[Event]:
        """Events for all that has changed since the last check.

        An env runner can be lost and back between two checks. Its process is another one then.
        """
        healthy = set(self._workers.healthy_env_runner_ids())
        is_first, before = self._healthy is None, self._healthy or set()
        back, stayed = sorted(healthy - before), sorted(healthy & before)
        restarts = self._workers.num_remote_worker_restarts()
        was_hidden = restarts - self._restarts > len(back)
        self._healthy, self._restarts = healthy, restarts
        found = self._find_homes([*back, *stayed] if was_hidden else back)
        replaced = [r for r in stayed if r in found and found[r] != self._homes.get(r)]
        for runner in sorted({*(before - healthy), *replaced}):
            yield self._report(
                EventKind.WORKER_LOST, runner, "is lost; training continues without it"
            )
        self._homes |= found
        for runner in () if is_first else sorted({*back, *replaced}):
            yield self._report(EventKind.WORKER_RESTARTED, runner, "was restarted")

    def _report(self, kind: EventKind, runner: int, what: str) -> Event:
        node = self.nodes.get(runner, "")
        message = f"env runner {runner} on node {node[:8]} {what}"
        return Event(kind, message, evidence={"worker": runner, "node": node})

    def _find_homes(self, runners: list[int]) -> dict[int, tuple[str, int]]:
        if not runners:
            return {}
        return dict(
            self._workers.foreach_env_runner(
                lambda runner: (
                    runner.index,
                    (ray.get_runtime_context().get_node_id(), os.getpid()),
                ),
                remote_worker_ids=runners,
                local_env_runner=False,
                timeout_seconds=ANSWER_TIMEOUT_S,
            )
        )
