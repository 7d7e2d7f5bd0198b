"""Who may ask, how often, and how much: bearer token, rate limit, size of the body."""

import hmac
import math
import time
from collections.abc import Callable

from starlette.requests import Request

from slicing_rllib.service.serving.http.problems import Problem

SCHEME = "bearer"


class RateLimit:
    """A token bucket: `rate_per_s` requests per second, with bursts of as many.

    Args:
        rate_per_s: requests per second.
        clock: seconds that never run backwards.
    """

    def __init__(self, rate_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate_per_s, clock
        self._size = max(rate_per_s, 1.0)
        self._tokens, self._time = self._size, clock()

    def take(self) -> float:
        """0 if the request may go on; else the seconds after which the next one may."""
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._time) * self._rate)
        self._time = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate


class Admission:
    """Lets requests in.

    Args:
        token: token that callers must present; None lets everybody in.
        rate_per_s: accepted requests per second.
        max_body_bytes: largest body.
    """

    def __init__(self, token: str | None, rate_per_s: float, max_body_bytes: int) -> None:
        self._token = None if token is None else token.encode()
        self._limit = RateLimit(rate_per_s)
        self._max_body_bytes = max_body_bytes

    def require_token(self, request: Request) -> None:
        """Raises: Problem 401 without the right token."""
        if self._token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Compares in constant time, so that the time of the answer says nothing about the token.
        is_right = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        if scheme.lower() != SCHEME or not is_right:
            raise Problem(401, "expected a valid bearer token", {"WWW-Authenticate": "Bearer"})

    def require_rate(self) -> None:
        """Raises: Problem 429 above the rate limit."""
        if wait_s := self._limit.take():
            headers = {"Retry-After": str(math.ceil(wait_s))}
            raise Problem(429, "too many requests", headers)

    async def read_body(self, request: Request) -> bytes:
        """The body of a JSON request. Raises: Problem 413 or 415."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Problem(415, "expected the content type application/json")
        declared = request.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit() and len(declared) < 20:
            self._require_size(int(declared))
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            self._require_size(size)
            parts.append(part)
        return b"".join(parts)

    def _require_size(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise Problem(413, f"expected a body of at most {self._max_body_bytes} bytes")
