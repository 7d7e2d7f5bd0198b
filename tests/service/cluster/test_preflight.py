"""What a preflight makes of what nodes say; on a live cluster: test_jobs."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from slicing_rllib.service.cli import run
from slicing_rllib.service.cluster import preflight
from slicing_rllib.service.cluster.archive import code_digest


def node(name: str, **differs: Any) -> dict[str, Any]:
    """One that is as it should be."""
    return {
        "node": name, "address": "192.0.2.1", "resources": {"CPU": 1.0, "memory": 2.0**30},
        "metrics": "", "storage": "", "python": "3.11.7", "torch": "2.13.0", "code": code_digest(),
        "clock_skew_s": 0.01,
    } | differs  # fmt: skip


def failed(*nodes: dict[str, Any]) -> dict[str, str]:
    return {row.name: row.found for row in preflight.of_nodes(list(nodes)) if not row.ok}


def test_two_good_nodes_pass():
    assert failed(node("a"), node("b")) == {}


@pytest.mark.parametrize(
    ("differs", "name", "found"),
    [
        ({"storage": "is not shared"}, "storage", "192.0.2.1 b: is not shared"),
        ({"clock_skew_s": -7.0}, "clocks", "at most 7.000 s"),
        ({"metrics": "does not answer"}, "metrics", "b: does not answer"),
        ({"python": "3.12.1"}, "python", "3.11.7 (192.0.2.1 a); 3.12.1 (192.0.2.1 b)"),
        ({"code": "0"}, "code", "0 (192.0.2.1 b)"),
        ({"problem": "worker died"}, "nodes answer", "b: worker died"),
    ],
)
def test_what_is_amiss_names_its_node(differs: dict[str, Any], name: str, found: str):
    said = failed(node("a"), node("b", **differs))

    assert list(said) == [name]
    assert found in said[name]


def test_one_cpu_is_too_few():
    assert "1 nodes, 1 CPUs" in failed(node("a"))["resources"]


def test_nobody_there_is_one_row_and_exit_code_1(capsys, monkeypatch):
    assert run(["cluster", "check", "--address", "http://127.0.0.1:9", "--json"]) == 1

    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["ok"]) == ("dashboard", False)
    assert "no Ray cluster answers here" in row["found"]


@pytest.mark.parametrize(("status", "ok"), [(200, False), (401, True), (500, False)])
def test_a_cluster_that_asks_nobody_for_a_token_fails(status: int, ok: bool):
    class Dashboard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Dashboard) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            assert preflight._token(f"http://127.0.0.1:{server.server_port}").ok is ok
        finally:
            server.shutdown()
