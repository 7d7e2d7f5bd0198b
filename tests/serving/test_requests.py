"""Who may ask, how often, and for what."""

import asyncio
import time
from contextlib import suppress

import jsonschema
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from slicing_rllib.serving.admission import (
    TOKEN_VARIABLE,
    Admission,
    RateLimit,
    read_token,
    require_token_beyond_loopback,
    respond_with_problem,
)
from slicing_rllib.serving.release import ServiceArguments
from slicing_rllib.serving.requests import A1Policy, parse_request
from slicing_rllib.storage.errors import ConfigError, RunError

TOKEN = "a token of 24 characters"
POLICY = {
    "scope": {"sliceId": {"sst": 1, "sd": "00000A", "plmnId": {"mcc": "001", "mnc": "01"}}},
    "sliceSlaObjectives": {"guaDlThptPerSlice": 4000, "maxDlPacketDelayPerUe": 3.0},
}


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
    with pytest.raises(HTTPException) as failure:
        admission.require_token(make_request({} if header is None else {"Authorization": header}))
    assert failure.value.status_code == 401
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
    with pytest.raises(HTTPException) as failure:
        asyncio.run(Admission(None, 1.0, 4).read_body(make_request(headers, body)))
    assert failure.value.status_code == status


def test_a_body_within_the_limit_is_read():
    request = make_request({"Content-Type": "application/json; charset=utf-8"}, b"1234")
    assert asyncio.run(Admission(None, 1.0, 4).read_body(request)) == b"1234"


def test_a_problem_is_one_line_of_ascii():
    error = HTTPException(422, "cells.\ud800:\n wrong")
    answer = respond_with_problem(make_request({}), error)
    assert answer.media_type == "application/problem+json"
    assert b"\n" not in answer.body
    assert b'"detail": "cells.\\\\ud800: wrong"' in answer.body


KPI = "cells.cell_1.slices.slice_1"


@pytest.mark.parametrize(
    ("text", "status", "line"),
    [
        ('{"cells"', 400, "body: Invalid JSON"),
        ("[]", 422, "body: "),
        ('{"cells": {}}', 422, "cells: Dictionary should have at least 1 item"),
        ('{"cells": {"a\\tb": {"off": true}}}', 422, "cells.a b.[key]: String should match"),
        ('{"cells": {"a": {"off": true}, "a": {"off": true}}}', 400, "body: 'a' stands twice in"),
        ('{"cells": {"a": {"slices": {}, "slices": {}}}}', 400, "body: 'slices' stands twice"),
        ('{"cells": {"a": {"off": true}}, "stict": true}', 422, "stict: Extra inputs"),
        ('{"cells": {"a": {"slices": {"s": {"load": NaN}}}}}', 400, "body: Invalid JSON: NaN is"),
        ('{"cells": {"\\ud800": {"off": true}}}', 422, "cells."),
        ("[" * 100_000, 400, "body: Invalid JSON: it is nested too deeply"),
        ('{"cells": %s}' % ("1" * 5000), 400, "body: Invalid JSON: Exceeds the limit"),
    ],
)
def test_a_body_with_a_mistake_gets_one_line(text: str, status: int, line: str):
    with pytest.raises(HTTPException) as failure:
        parse_request(text.encode())
    assert failure.value.status_code == status
    assert failure.value.detail.startswith(line)


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("{}", "cells.cell_1: Value error, expected slices"),
        ('{"slices": {"slice_1": {"load": 1e39}}}', f"{KPI}.load: "),
        ('{"slices": {"slice_1": {"load": 1e999}}}', f"{KPI}.load: "),
        ('{"slices": {"slice_1": {"load": "1"}}}', f"{KPI}.load: "),
        ('{"slices": {"slice_1": {"lod": 1}}}', f"{KPI}.lod: Extra"),
        ('{"slices": {"slice_1": {}}, "measured_at": "2026-01-01T00:00:00"}', "cells.cell_1.meas"),
        ('{"slices": {"slice_1": {}}, "measured_at": 5}', "cells.cell_1.measured_at: Value error"),
        ('{"slices": {"slice_1": {}}, "off": true}', "cells.cell_1: Value error, expected slices"),
    ],
)
def test_a_mistake_of_one_cell_is_noted_or_in_a_strict_request_refused(cell: str, line: str):
    text = f'{{"cells": {{"cell_1": {cell}, "cell_2": {{"off": true}}}}}}'
    asked = parse_request(text.encode())
    within = line.removeprefix("cells.cell_1").lstrip(".:")
    assert within in asked.cells["cell_1"].mistake
    assert asked.cells["cell_2"].mistake is None
    with pytest.raises(HTTPException) as failure:
        parse_request(text.replace('{"cells"', '{"strict": true, "cells"').encode())
    assert failure.value.status_code == 422
    assert failure.value.detail.startswith(line)


@pytest.mark.parametrize(
    "shape", ['{"cells": {"c": {"slices": {"s": {%s}}}}}', '{"cells": {"c": {%s}}}', "{%s}",
              '{"cells": {"c": {"slices": {%s}}}}', '{"cells": {%s}}']
)  # fmt: skip
def test_a_million_unknown_names_are_read_in_seconds(shape: str):
    names = ",".join(f'"{n:x}":0' for n in range(300_000))
    started = time.process_time()
    with suppress(HTTPException):
        parse_request((shape % names).encode())
    assert time.process_time() - started < 3.0


def test_objectives_replace_the_sla_in_our_units():
    """4000 kbit/s are 4 Mbit/s; what the policy leaves open stays."""
    assert A1Policy(**POLICY).override_sla(1.0, 1.0) == (4.0, 3.0)
    open_delay = POLICY | {"sliceSlaObjectives": {"guaDlThptPerSlice": 500}}
    assert A1Policy(**open_delay).override_sla(1.0, 7.0) == (0.5, 7.0)
    jsonschema.validate(POLICY, A1Policy.model_json_schema())


@pytest.mark.parametrize(
    "change", [{"guaDlThptPerSlice": -1}, {"guaDlThptPerSlice": 1e39}, {"unknown": 1}]
)
def test_objectives_that_make_no_sense_are_refused(change):
    with pytest.raises(ValueError, match="sliceSlaObjectives"):
        A1Policy(**POLICY | {"sliceSlaObjectives": change})


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
