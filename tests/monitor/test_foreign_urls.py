"""Whatever is asked of the monitor, of whatever files: an answer, and nothing outside is read."""

import json
import mimetypes
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import pytest
from asgi_call import Answer, call
from foreign_input import BUDGET, NASTY, damage, watch, write
from hypothesis import example, given
from hypothesis import strategies as st

from slicing_rllib.monitor import make_monitor_app
from slicing_rllib.monitor.server import PAGE

pytestmark = [pytest.mark.fuzz, pytest.mark.usefixtures("unchecked")]

ROW = {
    "iteration": 1, "env_steps": 20, "steps": 20, "time_s": 1.0, "reward_mean": 0.5,
    "fail_rate_95": 0.1, "same_steps": {"equal": 0.4}, "references": {"equal": 0.4},
    "cells": {"cell_1": {
        "reward": 0.5, "satisfaction": 0.5, "phase": "controlled", "load": [0.1, 0.2],
        "throughput_mbps": [1.0, 2.0], "delay_ms": [1.0, 2.0], "prb_ratio": [0.5, 0.5],
    }},
}  # fmt: skip
EVENT = {"time": 1.0, "env_step": 0, "kind": "started", "cell": None, "message": "a"}
SUMMARY = {"policies": {"equal": {"reward_mean": 0.5}}, "env_steps": 20, "seed": 0}
FILES = {
    "config.yaml": "scenario: paper\n",
    "metrics.jsonl": json.dumps(ROW) + "\n",
    "events.jsonl": json.dumps(EVENT) + "\n",
    "summary.json": json.dumps(SUMMARY),
}
PATHS = ("/", "/page/main.js", "/page/", "/page", "/api/runs", "/api/run", "/api/cell",
         "/api/stream", "/page/../server.py", "/page/%2e%2e%2fserver.py")  # fmt: skip
TEXT = st.text() | st.sampled_from([*NASTY, ".", "..", "run", "cell_1", "0", "1", "999999999999"])
TARGETS = st.builds(
    lambda path, end, query, is_quoted: (
        path + quote(end) + "?" + "&".join(f"{k}={quote(v, safe='')}" for k, v in query.items())
        if is_quoted
        else quote(path + end + "?" + str(query), safe="/?&=%;+")
    ),
    st.sampled_from(PATHS),
    st.just("") | TEXT.map(lambda text: text.encode("utf-8", "replace").decode()),
    st.dictionaries(
        st.sampled_from(["run", "cell", "window", "until"]),
        TEXT.map(lambda text: text.encode("utf-8", "replace").decode()),
    ),
    st.booleans(),
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(["host", "range", "accept-encoding", "if-none-match", "if-modified-since",
                     "if-range", "accept", "x-forwarded-host"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))
    | st.sampled_from(["127.0.0.1", "gzip", "bytes=0-", "bytes=5-1,-3,0-0", "bytes=-999999999999",
                       "Thu, 01 Jan 1970 00:00:00 GMT", "*", "Mon, 99 Foo 2026"]),
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _first_requests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a server reads once, at its first requests, is not asked for by them."""
    folder = make_run(tmp_path_factory.mktemp("first"))
    app = make_monitor_app(folder)
    for path in PATHS:
        call(app, path)
    mimetypes.init()


def make_run(folder: Path) -> Path:
    for name, text in FILES.items():
        write(folder / "run" / name, text)
    (folder / "secret").mkdir(exist_ok=True)
    (folder / "secret" / "metrics.jsonl").write_text("SECRET")
    return folder


def ask(folder: Path, target: str, method: str = "GET", headers: dict | None = None) -> Answer:
    """The answer of a new monitor, which has to behave."""
    app = make_monitor_app(folder)
    with watch(folder, may_read=(PAGE,)):
        answer = call(app, target, method=method, headers=headers)
    assert answer.status in {200, 206, 304, 307, 400, 404, 405, 416, 503}, answer
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert b"SECRET" not in answer.body
    assert b"Traceback" not in answer.body
    return answer


@BUDGET
@given(
    target=TARGETS,
    method=st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "TRACE", "\0"]),
    headers=HEADERS,
)
@example(target="/api/run?run=run&window=999999999999&until=0", method="GET", headers={})
def test_a_url(tmp_path_factory: pytest.TempPathFactory, target: str, method: str, headers: dict):
    with TemporaryDirectory() as folder:
        make_run(Path(folder))
        ask(Path(folder, "run"), target, method, headers)


@BUDGET
@given(data=st.data(), file=st.sampled_from(list(FILES)))
def test_a_run_directory_on_the_page(data: st.DataObject, file: str):
    with TemporaryDirectory() as folder:
        path = make_run(Path(folder)) / "run"
        write(path / file, data.draw(damage(FILES[file]) | st.text()))
        for target in ("/api/runs", "/api/run", "/api/cell?cell=cell_1", "/api/stream"):
            answer = ask(path, target)
            assert answer.status in (200, 404)
            if target != "/api/stream":
                json.loads(answer.body, parse_constant=pytest.fail)
