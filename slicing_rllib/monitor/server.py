"""The monitor's HTTP server: the page's files, snapshots of runs, and streams of their changes.

Its response headers forbid browsers to load anything from another host.
"""

import asyncio
import json
import re
import socket
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slicing_rllib.monitor.history import DEFAULT_STEPS, MAX_STEPS, NEWEST, Window
from slicing_rllib.monitor.run_view import RunView, find_runs, list_newest_first

PAGE = Path(__file__).parent / "page"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
POLL_S = 1.0
HEARTBEAT_POLLS = 15
"""Number of polls without a change after which a comment is sent: proxies then keep the stream."""
MAX_VIEWS = 8
MAX_STREAMS = 32
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def make_monitor_app(root: Path, *, allowed_hosts: Collection[str] = ()) -> Starlette:
    """The web application that shows a run, or all runs in a folder.

    Requests for other host names are refused: a page of another site can make a browser resolve
    that site's name to 127.0.0.1 (DNS rebinding), and only the Host header reveals this.

    Args:
        root: a run directory or a folder of them.
        allowed_hosts: host names, without ports, that are served besides the loopback names.
    """
    handlers = _Handlers(root.resolve())
    hosts = [*LOOPBACK_NAMES, *allowed_hosts]
    app = Starlette(
        routes=[
            Route("/", handlers.send_index),
            Mount("/page", StaticFiles(directory=PAGE)),
            Route("/api/runs", handlers.send_runs),
            Route("/api/run", handlers.send_run),
            Route("/api/cell", handlers.send_cell),
            Route("/api/stream", handlers.send_stream),
        ],
        middleware=[
            Middleware(SecurityHeadersMiddleware),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
            Middleware(GZipMiddleware, minimum_size=2_000),
        ],
    )
    app.state.closing = handlers.closing
    return app


class SecurityHeadersMiddleware:
    """Adds `HEADERS` to each response, and `Cache-Control: no-cache` unless the response has one.

    Without `no-cache`, a browser could combine scripts of two versions of the page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class MonitorServer(uvicorn.Server):
    """Serves an app of `make_monitor_app`. Open streams end first, so that Ctrl-C acts at once."""

    def __init__(self, app: Starlette) -> None:
        config = uvicorn.Config(
            app,
            log_level="warning",
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        super().__init__(config)
        self._closing: asyncio.Event = app.state.closing

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets)


class _Handlers:
    """Request handlers. A run's ID is looked up among the runs found, never joined to a path."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._views: OrderedDict[str, RunView] = OrderedDict()
        self._n_streams = 0
        self.closing = asyncio.Event()

    async def send_index(self, request: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    async def send_runs(self, request: Request) -> Response:
        runs = await asyncio.to_thread(lambda: list_newest_first(find_runs(self._root)))
        return JSONResponse({"root": self._root.name, "runs": runs})

    async def send_run(self, request: Request) -> Response:
        view = await self._find_view(request)
        if view is None:
            return _refuse(404, "no such run")
        return JSONResponse(await asyncio.to_thread(view.make_snapshot, _read_window(request)))

    async def send_cell(self, request: Request) -> Response:
        view = await self._find_view(request)
        name = request.query_params.get("cell", "")
        history = await asyncio.to_thread(view.read_cell, name) if view else None
        return JSONResponse(history) if history else _refuse(404, "no such cell")

    async def send_stream(self, request: Request) -> Response:
        view = await self._find_view(request)
        if view is None:
            return _refuse(404, "no such run")
        if self._n_streams >= MAX_STREAMS:
            return _refuse(503, "too many pages are open")
        return StreamingResponse(
            self._count_stream(stream_changes(view, self.closing, _read_window(request))),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
        )

    async def _count_stream(self, messages: AsyncIterator[str]) -> AsyncIterator[str]:
        self._n_streams += 1
        try:
            async for message in messages:
                yield message
        finally:
            self._n_streams -= 1

    async def _find_view(self, request: Request) -> RunView | None:
        run_id = request.query_params.get("run", ".")
        if run_id not in self._views:
            runs = await asyncio.to_thread(find_runs, self._root)
            if run_id not in runs:
                return None
            self._views.setdefault(run_id, RunView(runs[run_id], run_id))
        self._views.move_to_end(run_id)
        while len(self._views) > MAX_VIEWS:
            self._views.popitem(last=False)
        return self._views[run_id]


async def stream_changes(
    view: RunView, closing: asyncio.Event, window: Window = NEWEST
) -> AsyncIterator[str]:
    """Server-sent events until `closing` is set: a snapshot first, then every change.

    Means are over a window of network steps.
    """
    cursor: dict[str, Any] = {}
    n_silent_polls = 0
    while not closing.is_set():
        changes = await asyncio.to_thread(view.read_changes, cursor, window)
        if changes is not None:
            cursor, n_silent_polls = changes["cursor"], 0
            kind = "snapshot" if "network" in changes else "change"
            yield f"event: {kind}\ndata: {json.dumps(changes, allow_nan=False)}\n\n"
        elif (n_silent_polls := n_silent_polls + 1) % HEARTBEAT_POLLS == 0:
            yield ": no change\n\n"
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), POLL_S)


def _read_window(request: Request) -> Window:
    """The window that the page asks for with `window` and `until`; the default for other texts."""
    steps = _read_whole_number(request, "window") or DEFAULT_STEPS
    until = _read_whole_number(request, "until")
    return Window(min(steps, MAX_STEPS), np.inf if until is None else float(until))


def _read_whole_number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else None


def _refuse(status: int, reason: str) -> Response:
    return JSONResponse({"detail": reason}, status)
