"""The monitor's HTTP face: static files, snapshots, and a stream of changes."""

import asyncio
import json
import socket
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from slicing_rllib.monitor.hosts import HostGuard
from slicing_rllib.monitor.run_files import find_runs, newest_first
from slicing_rllib.monitor.run_view import RunView

PAGE = Path(__file__).parent / "page"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript",
               ".svg": "image/svg+xml"}  # fmt: skip
POLL_S = 1.0
HEARTBEAT_POLLS = 15
MAX_VIEWS = 8
MAX_STREAMS = 32


def monitor_app(root: Path, *, allowed_hosts: Collection[str] = ()) -> Starlette:
    """The application that shows the run `root`, or the runs below it."""
    pages = _Pages(root.resolve())
    app = Starlette(
        routes=[
            Route("/", pages.index),
            Route("/page/{name}", pages.file),
            Route("/api/runs", pages.runs),
            Route("/api/run", pages.run),
            Route("/api/cell", pages.cell),
            Route("/api/stream", pages.stream),
        ],
        middleware=[
            Middleware(HostGuard, allowed=allowed_hosts),
            Middleware(GZipMiddleware, minimum_size=2_000),
        ],
    )
    app.state.closing = pages.closing
    return app


class MonitorServer(uvicorn.Server):
    """Serves a `monitor_app`; ends the open streams first, so that Ctrl-C ends at once."""

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


class _Pages:
    """Request handlers; run ids and file names are looked up, never joined to a path."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = {path.name: path.read_bytes() for path in sorted(PAGE.iterdir())}
        self._views: OrderedDict[str, RunView] = OrderedDict()
        self._n_streams = 0
        self.closing = asyncio.Event()

    async def index(self, request: Request) -> Response:
        return _static("index.html", self._files["index.html"])

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            return _refusal(404, "no such file")
        return _static(name, self._files[name])

    async def runs(self, request: Request) -> Response:
        listed = await asyncio.to_thread(lambda: newest_first(find_runs(self._root)))
        return JSONResponse({"root": self._root.name, "runs": listed})

    async def run(self, request: Request) -> Response:
        view = await self._view(request)
        if view is None:
            return _refusal(404, "no such run")
        return JSONResponse(await asyncio.to_thread(view.snapshot))

    async def cell(self, request: Request) -> Response:
        view = await self._view(request)
        name = request.query_params.get("cell", "")
        history = await asyncio.to_thread(view.cell, name) if view else None
        return JSONResponse(history) if history else _refusal(404, "no such cell")

    async def stream(self, request: Request) -> Response:
        view = await self._view(request)
        if view is None:
            return _refusal(404, "no such run")
        if self._n_streams >= MAX_STREAMS:
            return _refusal(503, "too many pages are open")
        return StreamingResponse(
            self._counted(changes_of(view, self.closing)),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
        )

    async def _counted(self, messages: AsyncIterator[str]) -> AsyncIterator[str]:
        self._n_streams += 1
        try:
            async for message in messages:
                yield message
        finally:
            self._n_streams -= 1

    async def _view(self, request: Request) -> RunView | None:
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


async def changes_of(view: RunView, closing: asyncio.Event) -> AsyncIterator[str]:
    """Server-sent events: a snapshot, then whatever changes; comments keep the line open."""
    cursor: dict[str, Any] = {}
    silent_polls = 0
    while not closing.is_set():
        news = await asyncio.to_thread(view.changes, cursor)
        if news is not None:
            cursor, silent_polls = news["cursor"], 0
            kind = "snapshot" if "network" in news else "change"
            yield f"event: {kind}\ndata: {json.dumps(news, allow_nan=False)}\n\n"
        elif (silent_polls := silent_polls + 1) % HEARTBEAT_POLLS == 0:
            yield ": still here\n\n"
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), POLL_S)


def _static(name: str, content: bytes) -> Response:
    media_type = MEDIA_TYPES.get(Path(name).suffix, "application/octet-stream")
    return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})


def _refusal(status: int, why: str) -> Response:
    return JSONResponse({"detail": why}, status)
