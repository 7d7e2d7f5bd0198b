"""The HTTP service at a loopback address: one server for all tests of this file.

It answers directly in its process, and in the slow tests on Ray Serve as well.
"""

import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from slicing_rllib import serving
from slicing_rllib.cli.main import run
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving.closed_loop import LARGEST_DIFFERENCE, run_closed_loop
from slicing_rllib.serving.release import ServiceArguments
from slicing_rllib.storage.errors import RunError

TOKEN = secrets.token_hex(16)
README = Path(serving.__file__).parent / "README.md"
DOTS = "…"
"""What stands for more of the same in the answers of the page."""
Answer = tuple[int, dict]
in_this_process = pytest.mark.usefixtures("unchecked", "application_module")
"""For `serve --direct`."""


@pytest.fixture(
    scope="module",
    params=[["--direct"], pytest.param([], marks=pytest.mark.slow)],
    ids=["direct", "ray_serve"],
)
def way(request: pytest.FixtureRequest) -> list[str]:
    """Option of `serve` that chooses what answers."""
    return request.param


@pytest.fixture(scope="module")
def served_library(
    way: list[str], tmp_path_factory: pytest.TempPathFactory, add_random_version
) -> Path:
    """Two versions; a file of the release says that version 1 is served."""
    folder = tmp_path_factory.mktemp("served") / "library"
    for seed in (0, 1):
        add_random_version(folder, seed)
    release = {"revision": 1, "release": {"version": 1}}
    (folder / "release.json").write_text(json.dumps(release))
    return folder


@pytest.fixture(scope="module")
def url(served_library: Path, way: list[str], ray_folder: str) -> Iterator[str]:
    """URL of `slicing-rllib serve LIBRARY`, which is ended with the signal of Ctrl-C."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    token_file = served_library.parent / "token"
    token_file.write_text(TOKEN)
    server = subprocess.Popen(
        [sys.executable, "-m", "slicing_rllib", "serve", str(served_library), "--port", str(port),
         "--token-file", str(token_file), "--json", *way],
        env=os.environ | {"RAY_TMPDIR": ray_folder, "RAY_AUTH_TOKEN": secrets.token_hex(32)},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    yield json.loads(server.stdout.readline())["url"].removesuffix("/v1/")
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=60) == 0
    server.stdout.close()


@pytest.fixture(scope="module")
def send_request(url: str) -> Callable[..., Answer]:
    """Status and JSON of a request: POST if there is a body, else GET."""

    def call(path: str, body: str | None = None, token: str | None = TOKEN) -> Answer:
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(url + path, body and body.encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                kind = error.headers["content-type"]
                return error.code, json.load(error) | {"kind": kind}

    return call


def test_the_closed_loop_over_http_is_evaluation_in_process(url: str, served_run: RunDirectory):
    """Version 1 has the policies of the run; its observations contain messages of neighbours."""
    found = run_closed_loop(served_run, url, 20, TOKEN, lambda *step: None)

    assert found.is_equal, found
    assert max(found.largest_difference.values()) <= LARGEST_DIFFERENCE
    assert found.reward_mean == pytest.approx(found.in_process_reward_mean, abs=1e-12)


def test_one_cell_is_answered_from_what_its_neighbours_have_reported(send_request):
    """The cell alone gets the same shares as in the request of the whole network before."""
    example = send_request("/v1/example")[1]
    whole = send_request("/v1/decisions", json.dumps(example))[1]["decisions"]
    alone = {"cells": {"cell_5": example["cells"]["cell_5"]}}
    made = send_request("/v1/decisions", json.dumps(alone))[1]["decisions"]["cell_5"]

    assert made["shares"] == pytest.approx(whole["cell_5"]["shares"], abs=1e-9)
    assert sum(made["shares"].values()) == pytest.approx(1.0, abs=1e-6)
    assert (made["policy"], made["fallback"]) == ("quick-cell_5@1", None)
    assert re.fullmatch("[0-9a-f]{64}", made["policy_sha256"])
    assert 0.0 <= made["neighbours_age_s"] < 10.0


def test_with_format_o1_shares_are_whole_percentages(send_request):
    body = json.dumps(send_request("/v1/example")[1])
    made = send_request("/v1/decisions?format=o1", body)[1]["decisions"]["cell_1"]
    ratios = [row["attributes"]["rRMPolicyDedicatedRatio"] for row in made["rrm_policies"]]
    assert sum(ratios) == 100


def test_without_the_token_only_health_readiness_and_description_answer(send_request):
    for path in ("/v1/policies", "/v1/example", "/v1/shadow"):
        assert send_request(path, token=None)[0] == 401
    # A wrong token is noticed before a wrong body.
    assert send_request("/v1/decisions", "{", token="wrong")[0] == 401
    for path in ("/v1/health", "/v1/ready", "/openapi.json"):
        assert send_request(path, token=None)[0] == 200
    assert "source" not in send_request("/v1/health", token=None)[1]


def test_unfinished_uploads_and_half_open_connections_stop_nothing(url: str, send_request):
    """Twenty uploads; and the proxy of Ray Serve ends a connection whose headers do not end."""
    head = f"POST /v1/decisions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n"
    upload = f"{head}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    with ExitStack() as stack:
        opened = [
            stack.enter_context(socket.create_connection(("127.0.0.1", urlsplit(url).port), 30))
            for _ in range(21)
        ]
        started = time.monotonic()
        for number, connection in enumerate(opened):
            connection.sendall((upload if number else head).encode())
        body = json.dumps(send_request("/v1/example")[1])
        assert send_request("/v1/decisions", body)[0] == 200
        assert send_request("/v1/health")[0] == 200
        assert time.monotonic() - started < 10.0
        assert opened[0].recv(1) == b""
        assert time.monotonic() - started > 9.0


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        ("{", 400, "body: Invalid JSON"),
        ('{"cells": {}}', 422, "cells: Dictionary should have at least 1 item"),
        (
            '{"cells": {"cell_99": {"slices": {"a": {}}}}, "strict": true}',
            404,
            "cells.cell_99: no policy for this cell",
        ),
        (
            '{"cells": {"cell_1": {"slices": {"slice_1": {"load": 1e39}}}}, "strict": true}',
            422,
            "cells.cell_1.slices.slice_1.load: Input should be less than or equal to 1",
        ),
    ],
)
def test_a_request_with_a_mistake_gets_one_line(send_request, body: str, status: int, line: str):
    code, problem = send_request("/v1/decisions", body)
    assert code == problem["status"] == status
    assert problem["kind"] == "application/problem+json"
    assert problem["detail"].startswith(line)
    assert "\n" not in problem["detail"]


def test_a_body_that_is_too_large_is_refused_before_it_arrives(url: str, send_request):
    """Only the headers are sent."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/v1/decisions")
    for name, value in (
        ("Authorization", f"Bearer {TOKEN}"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(17 * 2**20)),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    assert send_request("/v2/nothing")[0] == 404


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_random_requests_get_decisions_or_the_right_refusal(url: str, mode: GenerationMode):
    """schemathesis, from the description of the interface: valid and invalid requests."""
    operation = schemathesis.openapi.from_url(f"{url}/openapi.json")["/v1/decisions"]["POST"]
    headers = {"Authorization": f"Bearer {TOKEN}"}

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case) -> None:
        answer = case.call(headers=headers)
        assert answer.status_code in {200, 400, 401, 404, 408, 413, 415, 422, 429}, answer.text

    check()


def test_the_requests_of_the_page_run_as_pasted(url: str, tmp_path: Path):
    """Every block of `curl` commands, against this server, gets an answer like the one shown.

    `$TOKEN` is the server's token. The cell without a policy gets exactly the shares of the page.
    """
    page = README.read_text(encoding="utf-8")
    pairs = re.findall(r"```\n(curl .*?)```\n\n```json\n(.*?)```", page, re.DOTALL)
    assert len(pairs) == page.count("```\ncurl") == 4
    for block, shown in pairs:
        ran = subprocess.run(
            ["bash", "-euc", block.replace("http://127.0.0.1:8000", url)],
            env=os.environ | {"TOKEN": TOKEN}, cwd=tmp_path,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        answer = json.loads(ran.stdout)
        assert_like(json.loads(shown), answer)
        if "tower_7" in block:
            assert answer["decisions"]["tower_7"]["shares"] == {"video": 0.75, "voice": 0.25}


def assert_like(shown: object, answer: object) -> None:
    """The answer has the names and types of the shown one, in which dots stand for more."""
    if isinstance(shown, dict) and isinstance(answer, dict):
        if DOTS not in shown.values():
            assert shown.keys() == answer.keys()
        for name in shown.keys() - {DOTS}:
            assert_like(shown[name], answer[name])
    elif shown != DOTS and shown is not None:
        assert type(shown) is type(answer), (shown, answer)


@pytest.mark.slow
def test_a_release_and_the_way_back_lose_no_request(url: str, send_request, served_library: Path):
    """Versions change while requests come in; each answer is of one version throughout."""
    body = json.dumps(send_request("/v1/example")[1])
    versions = []

    def ask() -> None:
        status, answer = send_request("/v1/decisions", body)
        assert status == 200
        labels = {made["policy"].split("@")[1] for made in answer["decisions"].values()}
        assert len(labels) == 1
        versions.append(labels.pop())

    for change, wanted in (
        (["--version", "2", "--shadow", "1", "--force"], "2"),
        (["--back"], "1"),
    ):
        changing = subprocess.Popen(
            [sys.executable, "-m", "slicing_rllib", "release", str(served_library), *change,
             "--url", url, "--json"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        while changing.poll() is None:
            ask()
        assert changing.returncode == 0
        result = json.loads(changing.stdout.read())
        changing.stdout.close()
        ask()
        assert versions[-1] == wanted
        assert set(result["policies"].values()) == {int(wanted)}
        if wanted == "2":
            compared = send_request("/v1/shadow")[1]["cell_1"]
            assert (compared["live"], compared["candidate"]) == ("quick-cell_1@2", "quick-cell_1@1")
            assert compared["largest_difference"] > 0.0

    health = send_request("/v1/health")[1]
    assert (health["version"], health["revision"], health["problem"]) == (1, 3, None)


def test_a_version_that_cannot_be_loaded_is_refused_and_changes_nothing(
    send_request, served_library: Path, capsys
):
    assert run(["release", str(served_library), "--version", "9"]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "quick-cell_1 has no version 9" in line
    assert send_request("/v1/health")[1]["problem"] is None


def test_a_folder_without_policies_gives_one_line(capsys):
    assert run(["serve", "nothing"]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "nothing: expected a run directory, a policy library or an export" in line


def test_an_open_address_needs_a_token(served_library: Path, capsys):
    assert run(["serve", str(served_library), "--host", "0.0.0.0"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "can be reached from other machines" in line


def test_an_overwritten_file_is_noticed(send_request, served_library: Path):
    """The service goes on with what it has loaded and checked, and says so."""
    path = served_library / "quick-cell_1" / "0001" / "weights.safetensors"
    shutil.copy(path.parents[1] / "0002" / path.name, path)
    deadline = time.monotonic() + 60
    while not (health := send_request("/v1/health")[1])["changed_files"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (health["status"], health["changed_files"]) == ("degraded", [str(path)])
    assert send_request("/v1/policies")[1]["cell_1"]["policy"] == "quick-cell_1@1"


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@in_this_process
def test_decisions_are_answered_without_ray_serve(served_run: RunDirectory, port: int):
    from slicing_rllib.serving.application import serve_directly

    url = f"http://127.0.0.1:{port}/v1"
    with serve_directly(
        ServiceArguments(run=str(served_run.path), without_token=True), "127.0.0.1", port
    ):
        with urllib.request.urlopen(f"{url}/ready") as ready:
            assert json.load(ready) == {"status": "ready"}
        with urllib.request.urlopen(f"{url}/example") as example:
            body = example.read()
        asked = urllib.request.Request(
            f"{url}/decisions", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked) as answer:
            cells = json.load(answer)["decisions"]

    assert len(cells) == 12
    assert all(sum(cell["shares"].values()) == pytest.approx(1) for cell in cells.values())
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/ready")


@in_this_process
def test_a_port_that_is_taken_is_named(served_run: RunDirectory):
    from slicing_rllib.serving.application import serve_directly

    arguments = ServiceArguments(run=str(served_run.path), without_token=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with (
            pytest.raises(RunError, match=f"port {number} on 127.0.0.1"),
            serve_directly(arguments, "127.0.0.1", number),
        ):
            pass


def test_only_one_process_answers_directly(served_run: RunDirectory, capsys):
    code = run(["serve", str(served_run.path), "--direct", "--replicas", "2"])

    assert code == 2
    assert "--direct: expected one replica" in capsys.readouterr().err
