"""Ctrl-C and SIGTERM as a wish that long work grants where it is safe."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether somebody asked to stop. A second Ctrl-C does not wait."""

    def __init__(self) -> None:
        self.wanted = False

    def ask(self, signum: int, frame: FrameType | None) -> None:
        if self.wanted and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.wanted = True


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Signals are caught inside the block and handled as before after it."""
    interruption = Interruption()
    before = {number: signal.signal(number, interruption.ask) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
