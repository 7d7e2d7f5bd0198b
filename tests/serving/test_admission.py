"""Who may ask, how often, and for how much."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from slicing_rllib.serving.admission import (
    MAX_OPEN_BODIES,
    TOKEN_VARIABLE,
    Admission,
    RateLimit,
    read_token,
    require_token_beyond_loopback,
    respond_with_problem,
)
from slicing_rllib.serving.release import ServiceArguments
from slicing_rllib.storage.errors import ConfigError, RunError

TOKEN = "a token of 24 characters"
ARGUMENTS = ServiceArguments(run="r", max_body_bytes=4, without_token=True)


def make_request(headers: dict[str, str], body: bytes = b"") -> Request:
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw}, receive)


def read(admission: Admission, request: Request) -> bytes:
    async def receive() -> bytes:
        async with admission.receive(request) as body:
            return body

    return asyncio.run(receive())


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer ÿ"]
)
def test_a_wrong_token_gets_401(header: str | None):
    request = make_request({} if header is None else {"Authorization": header})
    with pytest.raises(HTTPException) as failure:
        Admission(TOKEN, ARGUMENTS).admit(request)
    assert failure.value.status_code == 401
    assert failure.value.headers == {"WWW-Authenticate": "Bearer"}


def test_the_right_token_gets_in():
    Admission(TOKEN, ARGUMENTS).admit(make_request({"Authorization": f"bearer {TOKEN}"}))
    Admission(None, ARGUMENTS).admit(make_request({"Host": "localhost"}))


def test_a_burst_and_then_a_rate():
    """Two per second: two at once, then one every half second."""
    now = [0.0]
    limit = RateLimit(2.0, lambda: now[0])
    assert [limit.take() for _ in range(3)] == [0.0, 0.0, 0.5]
    now[0] = 0.5
    assert [limit.take() for _ in range(2)] == [0.0, 0.5]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "text/plain"}, b"{}", 415),
        ({}, b"{}", 415),
        ({"Content-Type": "application/json"}, b"12345", 413),
        ({"Content-Type": "application/json", "Content-Length": "5"}, b"", 413),
    ],
)
def test_bodies_that_are_refused(headers, body, status: int):
    with pytest.raises(HTTPException) as failure:
        read(Admission(None, ARGUMENTS), make_request(headers, body))
    assert failure.value.status_code == status


def test_a_body_within_the_limit_is_read():
    request = make_request({"Content-Type": "application/json; charset=utf-8"}, b"1234")
    assert read(Admission(None, ARGUMENTS), request) == b"1234"


JSON = {"Content-Type": "application/json"}


def test_bytes_and_cells_have_rates_of_their_own():
    """Of 10 bytes per second, 4 are left after two bodies of 3."""
    admission = Admission(None, ARGUMENTS.model_copy(update={"max_bytes_per_s": 10.0}))
    for _ in range(2):
        read(admission, make_request(JSON, b"123"))
    read(admission, make_request(JSON, b"1234"))
    with pytest.raises(HTTPException, match="too many bytes") as failure:
        read(admission, make_request(JSON, b"1234"))
    assert (failure.value.status_code, failure.value.headers) == (429, {"Retry-After": "1"})

    few = Admission(None, ARGUMENTS.model_copy(update={"max_cells_per_s": 5.0}))
    few.take_cells(12)  # More than the burst, but nothing came before.
    with pytest.raises(HTTPException, match="too many cells"):
        few.take_cells(1)


def test_open_bodies_are_limited_together():
    """The fifth largest body is one too many; once the others are done, it may come."""
    admission = Admission(None, ARGUMENTS)

    async def receive_all() -> None:
        async with AsyncExitStack() as stack:
            for _ in range(MAX_OPEN_BODIES):
                await stack.enter_async_context(admission.receive(make_request(JSON, b"1234")))
            with pytest.raises(HTTPException, match="too many open requests") as failure:
                await stack.enter_async_context(admission.receive(make_request(JSON, b"1")))
            assert failure.value.status_code == 503

    asyncio.run(receive_all())
    assert read(admission, make_request(JSON, b"1234")) == b"1234"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "", "127.0.0.1.evil.example", "localhost@evil"]
)
def test_without_a_token_only_names_of_this_machine_are_answered(host: str):
    admission = Admission(None, ARGUMENTS)
    with pytest.raises(HTTPException) as failure:
        admission.admit(make_request({"Host": host}))
    assert failure.value.status_code == 421
    for own in ("localhost:8000", "127.0.0.1", "[::1]:8000", "[::1]", "LOCALHOST"):
        admission.admit(make_request({"Host": own}))
    named = ARGUMENTS.model_copy(update={"trusted_hosts": ("slicing.local",)})
    Admission(None, named).admit(make_request({"Host": "slicing.local:80"}))


def test_a_problem_is_one_line_of_ascii():
    error = HTTPException(422, "cells.\ud800:\n wrong")
    answer = respond_with_problem(make_request({}), error)
    assert answer.media_type == "application/problem+json"
    assert b"\n" not in answer.body
    assert b'"detail": "cells.\\\\ud800: wrong"' in answer.body


def test_beyond_loopback_a_token_is_required(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    arguments = ServiceArguments(run="r")
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(ConfigError, match=f"serve: {host} can be reached"):
            require_token_beyond_loopback(arguments, host)
    for host in ("127.0.0.1", "::1", "localhost"):
        assert require_token_beyond_loopback(arguments, host).without_token
    (tmp_path / "token").write_text(TOKEN + "\n")
    with_token = ServiceArguments(run="r", token_file=str(tmp_path / "token"))
    assert not require_token_beyond_loopback(with_token, "0.0.0.0").without_token


def test_tokens_come_from_a_file_or_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert read_token(None) == TOKEN
    (tmp_path / "short").write_text("short")
    for name, line in (("short", "at least 16 ASCII"), ("missing", "expected a file with a token")):
        with pytest.raises(RunError, match=line):
            read_token(str(tmp_path / name))
