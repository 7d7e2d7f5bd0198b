"""The callbacks through which a run reports its progress."""

from typing import Any


class ProgressListener:
    """Called while a run trains and evaluates. The methods of this class do nothing."""

    def on_message(self, text: str) -> None:
        """A line for the user, such as that the run was resumed."""

    def on_iteration(self, row: dict[str, Any], total_steps: int) -> None:
        """After every training iteration: its row of `metrics.jsonl`, and the run's last step."""

    def on_event(self, kind: str, cell: str | None, message: str, env_step: int) -> None:
        """An event of `events.jsonl`."""

    def on_wait(self, waited_s: float, limit_s: float) -> None:
        """No env runner answers: how long the run has waited, and how long it will at most."""

    def on_rollout(self, policy: str, done: int, total: int) -> None:
        """After every rollout of the final evaluation: its policy, and how many are done."""
