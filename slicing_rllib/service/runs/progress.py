"""Who wants to hear how long work is doing."""

from typing import Any


class ProgressListener:
    """Hears how a run is doing. This one says nothing."""

    def says(self, message: str) -> None: ...

    def trained(self, row: dict[str, Any], total_steps: int) -> None: ...

    def evaluates(self, policy: str, done: int, total: int) -> None: ...
