"""Who may ask, and how often."""

import asyncio

import pytest
from starlette.requests import Request

from slicing_rllib.serving.http import Admission, RateLimit
from slicing_rllib.serving.requests import Problem, make_problem
from slicing_rllib.serving.service_settings import (
    TOKEN_VARIABLE,
    ServiceArguments,
    read_token,
    require_token_beyond_loopback,
)
from slicing_rllib.storage.errors import ConfigError, RunError

TOKEN = "a token of 24 characters"


def make_request(headers: dict[str, str], body: bytes = b"") -> Request:
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw}, receive)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer ÿ"]
)
def test_a_wrong_token_gets_401(header: str | None):
    admission = Admission(TOKEN, 1.0, 1)
    with pytest.raises(Problem) as failure:
        admission.require_token(make_request({} if header is None else {"Authorization": header}))
    assert failure.value.status == 401
    assert failure.value.headers == {"WWW-Authenticate": "Bearer"}


def test_the_right_token_gets_in():
    Admission(TOKEN, 1.0, 1).require_token(make_request({"Authorization": f"bearer {TOKEN}"}))
    Admission(None, 1.0, 1).require_token(make_request({}))


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
    with pytest.raises(Problem) as failure:
        asyncio.run(Admission(None, 1.0, 4).read_body(make_request(headers, body)))
    assert failure.value.status == status


def test_a_body_within_the_limit_is_read():
    request = make_request({"Content-Type": "application/json; charset=utf-8"}, b"1234")
    assert asyncio.run(Admission(None, 1.0, 4).read_body(request)) == b"1234"


def test_a_problem_is_one_line_of_ascii():
    answer = make_problem(422, "cells.\ud800:\n wrong")
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
    assert read_token(ServiceArguments(run="r")) == TOKEN
    (tmp_path / "short").write_text("short")
    for name, line in (("short", "at least 16 ASCII"), ("missing", "expected a file with a token")):
        with pytest.raises(RunError, match=line):
            read_token(ServiceArguments(run="r", token_file=str(tmp_path / name)))
