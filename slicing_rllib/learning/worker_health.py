"""Which env runners answer, and on which nodes of the cluster they run."""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import ray

from slicing_rllib.learning.events import Event

ANSWER_TIMEOUT_S = 30.0


class _Home(NamedTuple):
    """Where an env runner runs."""

    node: str
    process: int


class WorkerHealth:
    """Notices env runners that are lost and those that were restarted.

    RLlib continues with fewer env runners without saying so; Ray restarts them on another node if
    there is room.
    """

    def __init__(self, workers: Any) -> None:
        """`workers` is RLlib's EnvRunnerGroup."""
        self._workers = workers
        self._homes: dict[int, _Home] = {}
        self._healthy: set[int] | None = None
        self._restarts = 0

    @property
    def nodes(self) -> dict[int, str]:
        """Node id of each env runner, as last known."""
        return {runner: home.node for runner, home in self._homes.items()}

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
            yield self._report("worker_lost", runner, "is lost; training continues without it")
        self._homes |= found
        for runner in () if is_first else sorted({*back, *replaced}):
            yield self._report("worker_restarted", runner, "was restarted")

    def _report(self, kind: str, runner: int, what: str) -> Event:
        node = self.nodes.get(runner, "")
        message = f"env runner {runner} on node {node[:8]} {what}"
        return Event(kind, message, evidence={"worker": runner, "node": node})

    def _find_homes(self, runners: list[int]) -> dict[int, _Home]:
        if not runners:
            return {}
        return dict(
            self._workers.foreach_env_runner(
                lambda runner: (
                    runner.index,
                    _Home(ray.get_runtime_context().get_node_id(), os.getpid()),
                ),
                remote_worker_ids=runners,
                local_env_runner=False,
                timeout_seconds=ANSWER_TIMEOUT_S,
            )
        )
