"""One caller cannot stop the service: `serve --direct` in this process, at a loopback address."""

import json
import logging
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import ray

from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving import admission, http_connections
from slicing_rllib.serving.release import ServiceArguments

pytestmark = pytest.mark.usefixtures("unchecked")
HEAD = b"POST /v1/decisions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
UPLOAD = HEAD + b"Content-Length: 1000\r\n\r\n{"
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def port(served_run: RunDirectory, application_module) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    arguments = ServiceArguments(run=str(served_run.path), without_token=True)
    with application_module.serve_directly(arguments, "127.0.0.1", number):
        yield number


@pytest.fixture
def connect(port: int) -> Iterator[Callable[[bytes], socket.socket]]:
    """Opens a connection and sends the beginning of a request."""
    with ExitStack() as stack:

        def call(data: bytes) -> socket.socket:
            opened = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            opened.settimeout(PATIENCE_S)
            opened.sendall(data)
            return opened

        yield call


def ask(port: int, path: str, body: bytes | None = None, host: str = "localhost") -> tuple:
    """Status and JSON."""
    headers = {"Content-Type": "application/json", "Host": host}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def is_closed(opened: socket.socket) -> bool:
    """Waits until the service ends a connection; without answering."""
    try:
        return opened.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("data", [b"", b"GET /v1/hea", HEAD])
def test_half_open_connections_end(connect, monkeypatch: pytest.MonkeyPatch, data: bytes):
    monkeypatch.setattr(http_connections, "HEADER_TIMEOUT_S", 0.2)
    assert is_closed(connect(data))


def test_an_upload_that_stops_is_answered_and_ended(port: int, connect, monkeypatch):
    """Twenty of them: health, and other decisions, do not wait for them."""
    monkeypatch.setattr(admission, "UPLOAD_TIMEOUT_S", 1.0)
    uploads = [connect(UPLOAD) for _ in range(20)]
    started = time.monotonic()
    assert ask(port, "/v1/health")[0] == 200
    body = json.dumps(ask(port, "/v1/example")[1]).encode()
    assert ask(port, "/v1/decisions", body)[0] == 200
    assert time.monotonic() - started < 1.0
    for upload in uploads:
        assert upload.recv(4096).startswith(b"HTTP/1.1 408 ")
        assert is_closed(upload)


def test_a_body_for_a_resource_that_reads_none_ends_too(connect, monkeypatch):
    monkeypatch.setattr(http_connections, "BODY_TIMEOUT_S", 0.2)
    upload = connect(UPLOAD.replace(b"/v1/decisions", b"/v1/nothing  ").replace(b"  ", b"", 1))
    assert upload.recv(4096).startswith(b"HTTP/1.1 404 ")
    assert is_closed(upload)


def test_new_callers_get_in_where_many_connections_wait(port: int, connect, monkeypatch):
    monkeypatch.setattr(http_connections, "MAX_CONNECTIONS", 20)
    waiting = [connect(HEAD) for _ in range(60)]
    assert ask(port, "/v1/health")[0] == 200
    assert is_closed(waiting[0])


def test_too_many_open_uploads_are_refused_and_health_is_not(port: int, connect, monkeypatch):
    monkeypatch.setattr(admission, "MAX_OPEN", 3)
    for _ in range(3):
        connect(UPLOAD)
    time.sleep(0.2)
    assert connect(UPLOAD).recv(4096).startswith(b"HTTP/1.1 503 ")
    assert ask(port, "/v1/health")[0] == 200


def test_health_is_answered_while_a_large_request_is_computed(port: int, connect):
    """Twenty thousand cells take seconds."""
    cells = {f"tower_{n}": {"slices": {"a": {"demand_mbps": 1}}} for n in range(20_000)}
    body = json.dumps({"cells": cells}).encode()
    large = connect(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    waits = []
    large.setblocking(False)
    while not waits or len(waits) < 200:
        started = time.monotonic()
        assert ask(port, "/v1/health")[0] == 200
        waits.append(time.monotonic() - started)
        try:
            if large.recv(65536):
                break
        except BlockingIOError:
            pass
    assert len(waits) > 2
    assert max(waits) < 2.0


def test_a_caller_that_hangs_up_leaves_one_line(port: int, connect, caplog):
    with caplog.at_level(logging.WARNING):
        connect(UPLOAD).close()
        deadline = time.monotonic() + PATIENCE_S
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.02)
        assert ask(port, "/v1/health")[0] == 200
    assert [record.getMessage() for record in caplog.records] == [
        "a caller has hung up before the end of its request"
    ]
    assert caplog.records[0].exc_info is None


def test_a_page_of_a_stranger_gets_nothing_and_no_redirect(port: int):
    for path in ("/v1/health", "/v1/example", "/v1/policies", "/metrics"):
        assert ask(port, path, host="evil.example")[0] == 421
    assert ask(port, "/v1/health/")[0] == 404


def test_metrics_are_those_of_ray(port: int):
    body = json.dumps(ask(port, "/v1/example")[1]).encode()
    assert ask(port, "/v1/decisions", body)[0] == 200
    if ray.is_initialized():
        # Another test of this process has started Ray, which exports the metrics then.
        assert ask(port, "/metrics")[0] == 404
        return
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert 'ray_slicing_serving_latency_ms_count{cell="cell_1"}' in text
