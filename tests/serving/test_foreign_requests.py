"""Whatever is asked of the service: shares or the right refusal, and nothing outside is read."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgi_call import Answer, call
from foreign_input import BUDGET, NASTY, damage, watch
from hypothesis import example, given
from hypothesis import strategies as st

from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving.release import ServiceArguments
from slicing_rllib.serving.requests import EXAMPLE

pytestmark = [pytest.mark.fuzz, pytest.mark.usefixtures("unchecked")]

MAX_BODY = 2**20
TOKEN = "t" * 16
HEADERS = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
REFUSALS = {400, 401, 404, 405, 413, 415, 422}
PATHS = ("/v1/decisions", "/v1/example", "/v1/policies", "/v1/shadow", "/v1/health",
         "/v1/ready", "/openapi.json", "/docs", "/", "//", "/v1/../v1/health",
         "/v1/%2e%2e/etc/passwd")  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(NASTY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
LATIN = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))


@pytest.fixture(scope="module")
def app(served_run: RunDirectory, application_module: Any) -> Iterator[Callable]:
    """The service's application in this process, as a replica of Ray Serve would run it."""
    arguments = ServiceArguments(
        run=str(served_run.path), max_body_bytes=MAX_BODY, max_requests_per_s=1e9
    )
    module = application_module
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SLICING_RLLIB_SERVE_TOKEN", TOKEN)
        service = module.PolicyService(arguments.model_dump(mode="json"))
        asyncio.run(service.reconfigure({}))
        patched.setitem(module.api.dependency_overrides, module.find_service, lambda: service)
        for path in PATHS:
            call(module.api, path, headers=HEADERS)
        yield module.api
    service.holder.stop()


def ask(app: Callable, target: str, run: RunDirectory, **request: Any) -> Answer:
    """The answer, which has to be well-formed: no traceback, one line of detail."""
    with watch(run.path, may_read=()):
        answer = call(app, target, **request)
    assert answer.status in {200, 307, *REFUSALS}, answer
    if answer.status in REFUSALS:
        problem = json.loads(answer.body)
        assert answer.headers["content-type"] == "application/problem+json", answer
        assert problem["status"] == answer.status
        assert len(problem["detail"]) < 600
        assert all(c.isprintable() for c in problem["detail"]), problem
    elif answer.body:
        json.loads(answer.body, parse_constant=pytest.fail)
    return answer


@st.composite
def change_values(draw: st.DrawFn, value: Any) -> Any:
    """JSON with some parts replaced, dropped or under another name."""
    if not isinstance(value, dict) or not value or draw(st.integers(0, 9)) == 0:
        return draw(JSON)
    changed = dict(value)
    for name in draw(st.lists(st.sampled_from(sorted(value)), max_size=2)):
        match draw(st.sampled_from(["inner", "drop", "name"])):
            case "inner":
                changed[name] = draw(change_values(value[name]))
            case "drop":
                changed.pop(name, None)
            case "name":
                changed[draw(st.text(max_size=70))] = changed.pop(name, None)
    return changed


EXAMPLE_TEXT = json.dumps(EXAMPLE, indent=0)
BODIES = (
    damage(EXAMPLE_TEXT).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | change_values(EXAMPLE).map(lambda value: json.dumps(value).encode())
    | st.binary()
)  # fmt: skip


@BUDGET
@given(body=BODIES, form=st.sampled_from(["", "?format=o1", "?format=", "?format=%00&format=o1"]))
@example(body=b"[" * 100_000, form="")
@example(body=b'{"cells": ' * 100_000, form="")
@example(body=b'{"cells": {"\\ud800": {}}}', form="")
@example(body=b" " * (MAX_BODY + 1), form="")
def test_a_body(app: Callable, served_run: RunDirectory, body: bytes, form: str):
    answer = ask(app, f"/v1/decisions{form}", served_run, method="POST", headers=HEADERS, body=body)
    if answer.status == 200:
        for decision in json.loads(answer.body)["decisions"].values():
            if decision["policy"] is None and not decision["shares"]:
                continue  # None of the slices of an unknown cell can be read.
            assert sum(decision["shares"].values()) == pytest.approx(1.0, abs=1e-6)


@BUDGET
@given(
    path=st.sampled_from(PATHS) | st.text(st.characters(min_codepoint=33, max_codepoint=126)),
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", "\0"]),
    headers=st.dictionaries(
        st.sampled_from(["authorization", "content-type", "content-length", "host", "accept"]),
        LATIN | st.sampled_from(["Bearer", f"bearer {TOKEN}", "application/json;charset=x", "-1",
                                 "9" * 5000, "²"]),
    ),
)  # fmt: skip
@example(path="/v1/decisions", method="POST", headers={"authorization": "Bearer é"})
def test_a_request(app: Callable, served_run: RunDirectory, path: str, method: str, headers: dict):
    token = headers.get("authorization", "")
    answer = ask(app, path, served_run, method=method, headers=headers, body=EXAMPLE_TEXT.encode())
    if "shares" in answer.body.decode() and answer.status == 200 and method == "POST":
        assert token.lower() == f"bearer {TOKEN}"
