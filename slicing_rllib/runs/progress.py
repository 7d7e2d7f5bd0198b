"""What a run reports while it works.

Nothing here needs PyTorch or Ray: commands show progress from their first moment on.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

OnMessage = Callable[[str], None]
"""Called with a line for the user."""


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


@contextmanager
def report_silence(report: Callable[[float], object], first_s: float = 45.0) -> Generator[None]:
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
