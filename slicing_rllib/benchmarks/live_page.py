"""The monitor's live page in a process of its own, and a client that reads it as a browser does."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path

TIMEOUT_S = 30
RETRY_S = 0.2


@contextmanager
def serve_live_page(folder: Path) -> Iterator[int]:
    """Runs `slicing-rllib monitor` on a folder of runs; gives the port once it accepts connections.

    Raises: OSError if the page cannot be reached within TIMEOUT_S.
    """
    port = find_free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "slicing_rllib", "monitor", str(folder), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_server(port)
        yield port
    finally:
        server.terminate()
        server.wait()


@contextmanager
def read_live_page(port: int, run_name: str) -> Iterator[None]:
    """Reads the page's event stream of one run in a thread, until the context ends."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    connection.request("GET", f"/api/stream?run={run_name}")
    # getresponse() takes the socket away from the connection.
    stream_socket, stream = connection.sock, connection.getresponse()
    reader = threading.Thread(target=_read_stream, args=(stream,), daemon=True)
    reader.start()
    try:
        yield
    finally:
        stream_socket.shutdown(socket.SHUT_RDWR)
        reader.join()
        connection.close()


def _wait_for_server(port: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)


def _read_stream(stream: HTTPResponse) -> None:
    # The stream ends with an error when the socket is shut down.
    with suppress(OSError, ValueError, HTTPException):
        while stream.read1(4096):
            pass


def find_free_port() -> int:
    """Returns a port of this machine that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
