"""Says that an iteration takes long while it still does: nothing else reports until it ends."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

FIRST_REPORT_S = 45.0
"""Each further report comes after twice the time of the one before."""


@contextmanager
def report_silence(
    report: Callable[[float], object], first_s: float = FIRST_REPORT_S
) -> Generator[None]:
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
