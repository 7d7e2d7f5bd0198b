"""How a command learns that it is to stop, and that it ends in time.

SIGINT, SIGTERM and SIGHUP interrupt a command at any moment; `catch_signals` delays that for a
block that has to finish what it has begun. A command that owns its process ends at the latest
`DEADLINE_S` later, with its child processes, whatever it waits for. Nothing here needs PyTorch or
Ray.
"""

import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""Exit code of a command that was interrupted."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DEADLINE_S = 30.0
"""How long a command may take to end once its work is over or given up, Ray's shutdown included."""

IMPORT_POLL_S = 0.05
"""Time until a signal that came during an import is sent again."""


class CommandInterrupted(KeyboardInterrupt):
    """Of a class of its own: after a KeyboardInterrupt in code that is executed from a string,
    Python ends the process by SIGINT, whatever exit code it was given."""


class _Process:
    """What is known about the end of this process."""

    is_owned = False
    """Whether the command line has it for itself, rather than a test or a notebook."""
    has_deadline = False


def own_process() -> None:
    """Interrupts this process by every signal of `SIGNALS`, from here to its end."""
    _Process.is_owned = True
    for number in SIGNALS:
        # nohup has it ignored.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    end_in_time()
    if _is_importing(frame):
        # PyTorch's C++ code imports modules, too, and ends the process at any exception in there.
        again = threading.Timer(IMPORT_POLL_S, os.kill, (os.getpid(), signum))
        again.daemon = True
        again.start()
        return
    raise CommandInterrupted


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def end_in_time(seconds: float | None = None) -> None:
    """Ends this process after the deadline if it then still runs. Only for a command's process."""
    if not _Process.is_owned or _Process.has_deadline:
        return
    _Process.has_deadline = True
    timer = threading.Timer(DEADLINE_S if seconds is None else seconds, end_now)
    timer.daemon = True
    timer.start()


def end_now() -> NoReturn:
    """Ends this process with its child processes, by their ids: Ray's among them."""
    import psutil

    sys.stderr.write("slicing-rllib: interrupted; ended what did not end by itself\n")
    sys.stderr.flush()
    for process in psutil.Process().children(recursive=True):
        try:
            process.kill()
        except psutil.Error:
            continue
    os._exit(INTERRUPTED)


class Interruption:
    """Whether somebody asked to stop. A second Ctrl-C raises KeyboardInterrupt at once."""

    def __init__(self, deadline_s: float | None) -> None:
        self.is_requested = False
        self._deadline_s = deadline_s

    def request(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler."""
        if self._deadline_s is not None:
            end_in_time(self._deadline_s)
        elif self.is_requested and signum == signal.SIGINT:
            _interrupt(signum, frame)
        self.is_requested = True


@contextmanager
def catch_signals(deadline_s: float | None = None) -> Generator[Interruption]:
    """Catches the signals inside the block and restores their handlers after it.

    `deadline_s` is for a block that cannot look whether it is to stop: how long it may go on.
    """
    interruption = Interruption(deadline_s)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if number != signal.SIGHUP or handler is not signal.SIG_IGN:
            signal.signal(number, interruption.request)
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            # None: set by code that is not Python's.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if interruption.is_requested:
            end_in_time()
