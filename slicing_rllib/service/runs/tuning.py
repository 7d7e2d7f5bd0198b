"""What experiments and sweeps share in running trials on Ray Tune."""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

from ray.tune import Callback, ResultGrid, Tuner

OnMessage = Callable[[str], None]
"""Called with a line for the user."""


def ignore_message(text: str) -> None:
    """A callback that does nothing."""


class MessageCallback(Callback):
    """A Tune callback that reports trials with `on_message`.

    Tune pickles its callbacks; an unpickled one ignores messages, as a terminal cannot be pickled.
    """

    def __init__(self, on_message: OnMessage) -> None:
        self.on_message = on_message

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"on_message": ignore_message}


def fit_quietly(tuner: Tuner) -> ResultGrid:
    """Runs all trials. Tune's own output goes to stderr: stdout is for the command's result."""
    with redirect_stdout(sys.stderr if sys.stderr.isatty() else io.StringIO()):
        return tuner.fit()
