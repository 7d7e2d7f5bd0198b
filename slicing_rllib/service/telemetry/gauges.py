"""Gauges that stay visible during a long iteration.

Ray's agents drop a gauge that has not been set for two report intervals. During an iteration that
takes longer than that, all numbers of the run would disappear from the dashboards.
"""

import math
import threading
from collections.abc import Mapping

from ray.util import metrics


class RefreshedGauges:
    """Gauges of one run whose last values are sent again until `close`.

    Args:
        run: value of the tag `run` of all gauges.
        descriptions: description and further tags of each gauge, by its name.
        refresh_s: time between two transmissions of the same value, in seconds.
    """

    def __init__(
        self, run: str, descriptions: Mapping[str, tuple[str, tuple[str, ...]]], refresh_s: float
    ) -> None:
        self._run = run
        self._gauges = {
            name: metrics.Gauge(name, text, ("run", *tags))
            for name, (text, tags) in descriptions.items()
        }
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._refresh, args=(refresh_s,), name="gauges", daemon=True
        )
        self._thread.start()

    def set(self, name: str, value: float | None, tags: Mapping[str, str] | None = None) -> None:
        """Sets a gauge. None, NaN and infinity end it: Ray drops it after two report intervals."""
        key = (name, tuple((tags or {}).items()))
        with self._lock:
            if value is None or not math.isfinite(value):
                self._values.pop(key, None)
            else:
                self._values[key] = value
                self._send(*key, value)

    def close(self) -> None:
        """Stops sending; Ray then drops all gauges."""
        self._closed.set()
        self._thread.join()

    def _refresh(self, refresh_s: float) -> None:
        while not self._closed.wait(refresh_s):
            with self._lock:
                for key, value in self._values.items():
                    self._send(*key, value)

    def _send(self, name: str, tags: tuple[tuple[str, str], ...], value: float) -> None:
        self._gauges[name].set(value, {"run": self._run, **dict(tags)})
