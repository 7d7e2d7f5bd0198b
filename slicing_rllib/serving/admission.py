"""Who may ask the service, how often and for how much; and what refused callers are told.

Refusals are HTTPExceptions, answered as problem+json (RFC 9457).
"""

import asyncio
import hmac
import ipaddress
import json
import math
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from slicing_rllib.serving.release import ServiceArguments
from slicing_rllib.serving.requests import MAX_DETAIL
from slicing_rllib.storage import make_printable, read_text
from slicing_rllib.storage.errors import ConfigError, RunError

TOKEN_VARIABLE = "SLICING_RLLIB_SERVE_TOKEN"
LEAST_TOKEN_CHARACTERS, MAX_TOKEN_BYTES = 16, 4096
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
MAX_OPEN = 64
"""Requests for decisions that a process reads and computes at a time."""
MAX_OPEN_BODIES = 4
"""Their bytes together, in largest bodies."""
UPLOAD_TIMEOUT_S = 20.0
"""Time for the whole body of a request."""


def respond_with_problem(request: Request, error: HTTPException) -> Response:
    """The answer to a refused request: problem+json with one line of `detail`."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(error.status_code).phrase,
        "status": error.status_code,
        "detail": make_printable(str(error.detail), MAX_DETAIL),
    }
    # Only ASCII, also for callers whose terminal knows no more.
    content = json.dumps(body).encode("ascii")
    return Response(content, error.status_code, error.headers, "application/problem+json")


def read_token(token_file: str | None) -> str | None:
    """The token that callers must present, from a file or from `TOKEN_VARIABLE`; None without.

    Raises: RunError for a file that cannot be read, or a token that is too short.
    """
    if token_file is None:
        token = os.environ.get(TOKEN_VARIABLE)
    else:
        try:
            token = read_text(Path(token_file), MAX_TOKEN_BYTES).strip()
        except (OSError, ValueError) as error:
            raise RunError(f"{token_file}: expected a file with a token") from error
    if token is not None and not (len(token) >= LEAST_TOKEN_CHARACTERS and token.isascii()):
        raise RunError(f"token: expected at least {LEAST_TOKEN_CHARACTERS} ASCII characters")
    return token


def require_token_beyond_loopback(arguments: ServiceArguments, host: str) -> ServiceArguments:
    """The arguments, with leave to run without a token where only this machine can ask.

    Raises: ConfigError for an address beyond loopback without a token.
    """
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if read_token(arguments.token_file) is None and not is_loopback:
        raise ConfigError(
            f"serve: {host} can be reached from other machines; expected --token-file or "
            "the environment variable SLICING_RLLIB_SERVE_TOKEN"
        )
    return arguments.model_copy(update={"without_token": is_loopback})


class RateLimit:
    """A token bucket: `rate_per_s` requests, cells or bytes per second, with bursts of as many.

    Args:
        rate_per_s: how many per second.
        clock: seconds that never run backwards.
    """

    def __init__(self, rate_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate_per_s, clock
        self._size = max(rate_per_s, 1.0)
        self._tokens, self._time = self._size, clock()

    def take(self, n: float = 1.0) -> float:
        """0 if `n` may go on; else the seconds after which they may.

        More than the burst may go on when nothing did before; others then wait for them.
        """
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._time) * self._rate)
        self._time = now
        if (missing := min(n, self._size) - self._tokens) > 0.0:
            return missing / self._rate
        self._tokens -= n
        return 0.0


class Admission:
    """Lets requests in.

    Args:
        token: token that callers must present; None lets everybody in.
        arguments: the limits.
    """

    def __init__(self, token: str | None, arguments: ServiceArguments) -> None:
        self._token = None if token is None else token.encode()
        self._hosts = None if token or not arguments.without_token else arguments.trusted_hosts
        self._max_body_bytes = arguments.max_body_bytes
        self._requests = RateLimit(arguments.max_requests_per_s)
        self._cells = RateLimit(arguments.max_cells_per_s)
        self._bytes = RateLimit(arguments.max_bytes_per_s)
        self._n_open, self._open_bytes = 0, 0

    def is_known(self, request: Request) -> bool:
        """Whether a caller has the token, or none is needed."""
        if self._token is None:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Compares in constant time, so that the time of the answer says nothing about the token.
        is_right = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        return scheme.lower() == "bearer" and is_right

    def require_host(self, request: Request) -> None:
        """Raises: HTTPException 421 for another host name, where no token is asked for.

        The page of a stranger could otherwise make a browser of this machine ask, by a name of its
        own that leads to the loopback address (DNS rebinding).
        """
        if self._hosts is None:
            return
        name = request.headers.get("host", "").lower()
        name = name.rpartition(":")[0] if not name.endswith("]") and ":" in name else name
        if name not in (*LOOPBACK_NAMES, *self._hosts):
            raise HTTPException(421, f"expected one of the hosts {', '.join(LOOPBACK_NAMES)}")

    def admit(self, request: Request) -> None:
        """Raises: HTTPException for a request without the token, or for one too many."""
        self.require_host(request)
        if not self.is_known(request):
            raise HTTPException(
                401, "expected a valid bearer token", {"WWW-Authenticate": "Bearer"}
            )
        _require(self._requests.take(), "requests")

    def take_cells(self, n: int) -> None:
        """Raises: HTTPException 429 above the rate of cells."""
        _require(self._cells.take(n), "cells")

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a JSON request, which counts as open for the block.

        Raises: HTTPException 408, 413, 415, 429 or 503.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HTTPException(415, "expected the content type application/json")
        declared = request.headers.get("content-length", "0")
        if declared.isascii() and declared.isdigit() and len(declared) < 20:
            self._require_size(int(declared))
        if self._n_open >= MAX_OPEN:
            raise HTTPException(503, "too many open requests", {"Retry-After": "1"})
        self._n_open += 1
        parts = list[bytes]()
        try:
            await self._read(request, parts)
            yield b"".join(parts)
        finally:
            self._n_open -= 1
            self._open_bytes -= sum(map(len, parts))

    async def _read(self, request: Request, parts: list[bytes]) -> None:
        """Appends the parts of the body as they come."""
        size = 0
        try:
            async with asyncio.timeout(UPLOAD_TIMEOUT_S):
                async for part in request.stream():
                    parts.append(part)
                    size += len(part)
                    self._open_bytes += len(part)
                    self._require_size(size)
                    if self._open_bytes > MAX_OPEN_BODIES * self._max_body_bytes:
                        raise HTTPException(503, "too many open requests", {"Retry-After": "1"})
        except TimeoutError as error:
            detail = f"expected the whole body within {UPLOAD_TIMEOUT_S:g} s"
            raise HTTPException(408, detail, {"Connection": "close"}) from error
        _require(self._bytes.take(size), "bytes")

    def _require_size(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise HTTPException(413, f"expected a body of at most {self._max_body_bytes} bytes")


def _require(wait_s: float, what: str) -> None:
    """Raises: HTTPException 429 if there is a time to wait."""
    if wait_s:
        raise HTTPException(429, f"too many {what}", {"Retry-After": str(math.ceil(wait_s))})
