"""Connections of callers: each part of a request has a deadline, and there are not too many.

uvicorn waits for ever for the rest of a request, so that a few thousand half-open connections would
use up all file descriptors. `serve --direct` uses this protocol; in the proxy of Ray Serve,
`guard_proxy` puts it in the place of uvicorn's own.
"""

import asyncio
from typing import Any

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_TIMEOUT_S = 10.0
"""From the first byte, or from the opening of a connection, to the end of the headers."""
BODY_TIMEOUT_S = 30.0
"""For the body; the service itself answers 408 earlier, if it has begun to read."""
ANSWER_TIMEOUT_S = 120.0
"""From the end of the request until the caller has read the answer."""
MAX_CONNECTIONS = 500
"""Above it, the oldest connection that waits for its caller is closed."""


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with deadlines."""

    _timer: asyncio.TimerHandle | None = None
    opened_s = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether the caller has to go on, rather than the service."""
        cycle = self.cycle
        return cycle is None or cycle.response_complete or cycle.more_body  # pyright: ignore[reportUnnecessaryComparison]

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.opened_s = self.loop.time()
        self._limit(HEADER_TIMEOUT_S)
        if len(self.connections) > MAX_CONNECTIONS:
            others = [
                c for c in self.connections if isinstance(c, GuardedProtocol) and c is not self
            ]
            if waiting := [other for other in others if other.is_waiting]:
                min(waiting, key=lambda other: other.opened_s).transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._limit(HEADER_TIMEOUT_S)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._limit(BODY_TIMEOUT_S)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._limit(None if self.cycle.response_complete else ANSWER_TIMEOUT_S)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # After a refusal, the rest of the body may still be on its way.
        if not self.cycle.more_body:
            self._limit(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit(None)
        super().connection_lost(exc)

    def _limit(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds is not None:
            # Not `close`, which would wait for a caller that reads nothing.
            self._timer = self.loop.call_later(seconds, self.transport.abort)


def guard_proxy() -> list[Any]:
    """Called by Ray Serve's proxy before it listens. Returns its further middlewares: none."""
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{GuardedProtocol.__name__}"
    return []
