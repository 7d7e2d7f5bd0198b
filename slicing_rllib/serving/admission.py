"""Who may ask the service, how often and for how much; and what refused callers are told.

Refusals are HTTPExceptions, answered as problem+json (RFC 9457).
"""

import hmac
import ipaddress
import json
import math
import os
import time
from collections.abc import Callable
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
        """Raises: HTTPException 401 without the right token."""
        if self._token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Compares in constant time, so that the time of the answer says nothing about the token.
        is_right = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        if scheme.lower() != "bearer" or not is_right:
            raise HTTPException(
                401, "expected a valid bearer token", {"WWW-Authenticate": "Bearer"}
            )

    def require_rate(self) -> None:
        """Raises: HTTPException 429 above the rate limit."""
        if wait_s := self._limit.take():
            headers = {"Retry-After": str(math.ceil(wait_s))}
            raise HTTPException(429, "too many requests", headers)

    async def read_body(self, request: Request) -> bytes:
        """The body of a JSON request. Raises: HTTPException 413 or 415."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HTTPException(415, "expected the content type application/json")
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
            raise HTTPException(413, f"expected a body of at most {self._max_body_bytes} bytes")
