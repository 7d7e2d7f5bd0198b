"""Which env runners answer, and on which nodes of the cluster they run."""

from collections.abc import Iterator
from typing import Any

import ray

ANSWER_S = 30.0


class WorkerHealth:
    """Notices env runners that are gone and those that have come back.

    RLlib goes on with fewer runners in silence; Ray restarts them elsewhere if there is room.
    """

    def __init__(self, workers: Any) -> None:
        self._workers = workers
        self.nodes: dict[int, str] = {}
        """Node id by runner, as last known."""
        self._answering: set[int] | None = None

    @property
    def lost(self) -> bool:
        """No runner answers, though there should be some."""
        return bool(self._answering is not None and not self._workers.healthy_env_runner_ids())

    def look(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """What has changed since the last look: event, message and evidence."""
        answering = set(self._workers.healthy_env_runner_ids())
        before, self._answering = self._answering, answering
        for runner in sorted((before or set()) - answering):
            node = self.nodes.get(runner, "")
            yield (
                "worker_lost",
                f"env runner {runner} of node {node[:8]} is gone; training goes on without it",
                {"worker": runner, "node": node},
            )
        back = sorted(answering - (before or set()))
        if back:
            self.nodes |= self._nodes_of(back)
        for runner in back if before is not None else ():
            node = self.nodes.get(runner, "")
            yield (
                "worker_restarted",
                f"env runner {runner} is back, on node {node[:8]}",
                {"worker": runner, "node": node},
            )

    def _nodes_of(self, runners: list[int]) -> dict[int, str]:
        return dict(
            self._workers.foreach_env_runner(
                lambda runner: (runner.index, ray.get_runtime_context().get_node_id()),
                remote_worker_ids=runners,
                local_env_runner=False,
                timeout_seconds=ANSWER_S,
            )
        )
