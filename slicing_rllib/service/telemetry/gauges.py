"""Gauges that Ray does not forget.

Ray's agents drop a gauge that nobody has set for two report intervals, so that the numbers of a
long iteration would vanish just when somebody asks why it takes so long.
"""

import math
import threading
from collections.abc import Mapping

from ray.util import metrics


class RefreshedGauges:
    """Gauges of one run, sent again every `refresh_s` until `close`.

    `described` maps a gauge's name to its description and its tags beside `run`.
    """

    def __init__(
        self, run: str, described: Mapping[str, tuple[str, tuple[str, ...]]], refresh_s: float
    ) -> None:
        self._run = run
        self._gauges = {
            name: metrics.Gauge(name, text, ("run", *tags))
            for name, (text, tags) in described.items()
        }
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._refresh, args=(refresh_s,), name="gauges", daemon=True
        )
        self._thread.start()

    def show(self, name: str, value: float | None, tags: Mapping[str, str] | None = None) -> None:
        """Sets a gauge. None and what is not finite take it off: Ray then lets it age out."""
        key = (name, tuple((tags or {}).items()))
        with self._lock:
            if value is None or not math.isfinite(value):
                self._values.pop(key, None)
            else:
                self._values[key] = value
                self._send(*key, value)

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _refresh(self, refresh_s: float) -> None:
        while not self._closed.wait(refresh_s):
            with self._lock:
                for key, value in self._values.items():
                    self._send(*key, value)

    def _send(self, name: str, tags: tuple[tuple[str, str], ...], value: float) -> None:
        self._gauges[name].set(value, {"run": self._run, **dict(tags)})
