"""Requests to a web application in this process, as they come from a socket: nothing is cleaned."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

from starlette.requests import ClientDisconnect


class Answer(NamedTuple):
    """The answer of an application; of an endless stream, its beginning."""

    status: int
    headers: dict[str, str]
    body: bytes


def call(
    app: Callable,
    target: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """The answer to one request. A client that reads a stream goes away after its first part."""
    path, _, query = target.partition("?")
    named = {"host": "127.0.0.1", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "root_path": "",
        "query_string": query.encode("ascii"),
        "headers": [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in named.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    parts: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        parts.append(message)
        if message.get("body") and message.get("more_body"):
            raise OSError("the client has gone away")

    async def answer() -> None:
        try:
            await app(scope, receive, send)
        except (ClientDisconnect, OSError):
            assert parts[-1].get("more_body")

    asyncio.run(answer())
    start = parts[0]
    return Answer(
        start["status"],
        {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in start["headers"]},
        b"".join(part.get("body", b"") for part in parts[1:]),
    )
