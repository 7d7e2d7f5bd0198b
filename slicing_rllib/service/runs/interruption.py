"""Turns Ctrl-C and SIGTERM into a request that long work answers between two iterations."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether somebody asked to stop. A second Ctrl-C raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.is_requested = False

    def request(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler."""
        if self.is_requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.is_requested = True


@contextmanager
def catch_signals() -> Iterator[Interruption]:
    """Catches the signals inside the block and restores their handlers after it."""
    interruption = Interruption()
    before = {number: signal.signal(number, interruption.request) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
