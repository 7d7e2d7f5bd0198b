"""Which env runners answer, and on which nodes of the cluster they run."""

from collections.abc import Iterator
from typing import Any

import ray

from slicing_rllib.learning.events import Event

ANSWER_TIMEOUT_S = 30.0


class WorkerHealth:
    """Notices env runners that are lost and those that were restarted.

    RLlib continues with fewer env runners without saying so; Ray restarts them on another node if
    there is room.
    """

    def __init__(self, workers: Any) -> None:
        """`workers` is RLlib's EnvRunnerGroup."""
        self._workers = workers
        self.nodes: dict[int, str] = {}
        """Node id of each env runner, as last known."""
        self._healthy: set[int] | None = None

    @property
    def lost(self) -> bool:
        """Whether no env runner answers although some were started."""
        return bool(self._healthy is not None and not self._workers.healthy_env_runner_ids())

    def check(self) -> Iterator[Event]:
        """Events for all that has changed since the last check."""
        healthy = set(self._workers.healthy_env_runner_ids())
        before, self._healthy = self._healthy, healthy
        for runner in sorted((before or set()) - healthy):
            node = self.nodes.get(runner, "")
            yield Event(
                "worker_lost",
                f"env runner {runner} on node {node[:8]} is lost; training continues without it",
                evidence={"worker": runner, "node": node},
            )
        back = sorted(healthy - (before or set()))
        if back:
            self.nodes |= self._find_nodes(back)
        for runner in back if before is not None else ():
            node = self.nodes.get(runner, "")
            yield Event(
                "worker_restarted",
                f"env runner {runner} was restarted on node {node[:8]}",
                evidence={"worker": runner, "node": node},
            )

    def _find_nodes(self, runners: list[int]) -> dict[int, str]:
        return dict(
            self._workers.foreach_env_runner(
                lambda runner: (runner.index, ray.get_runtime_context().get_node_id()),
                remote_worker_ids=runners,
                local_env_runner=False,
                timeout_seconds=ANSWER_TIMEOUT_S,
            )
        )
