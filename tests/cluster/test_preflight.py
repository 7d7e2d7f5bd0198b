"""How the checks of a cluster judge facts about its nodes; `test_client.py` has a live cluster."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from slicing_rllib.cli.main import run
from slicing_rllib.cluster import preflight
from slicing_rllib.cluster.job_entrypoint import NONE, compute_code_digest, describe_installed_code


def make_node(name: str, **changes: Any) -> dict[str, Any]:
    """Facts about a node that passes all checks, except for the changes."""
    return {
        "node": name, "address": "192.0.2.1", "resources": {"CPU": 1.0, "memory": 2.0**30},
        "metrics": "", "storage": "", "python": "3.11.7", "torch": "2.13.0",
        "code": compute_code_digest(), "image": describe_installed_code(), "clock_skew_s": 0.01,
        "redis": "none", "redis_problem": "",
    } | changes  # fmt: skip


def find_failures(*nodes: dict[str, Any]) -> dict[str, str]:
    """What the failed checks found, by the name of the check."""
    checks = preflight.check_nodes(list(nodes))
    return {check.name: check.found for check in checks if not check.ok}


def test_two_correct_nodes_pass():
    assert find_failures(make_node("a"), make_node("b")) == {}


@pytest.mark.parametrize(
    ("changes", "name", "found"),
    [
        ({"storage": "is not shared"}, "storage", "192.0.2.1 b: is not shared"),
        ({"clock_skew_s": -7.0}, "clocks", "at most 7.000 s"),
        ({"metrics": "does not answer"}, "metrics", "b: does not answer"),
        ({"python": "3.12.1"}, "python", "3.11.7 (192.0.2.1 a); 3.12.1 (192.0.2.1 b)"),
        ({"code": "0"}, "code", "0 (192.0.2.1 b)"),
        ({"image": "0.0.9 (0)"}, "image", "0.0.9 (0) (192.0.2.1 b); this machine has "),
        ({"image": NONE}, "image", "no slicing-rllib (192.0.2.1 b)"),
        ({"problem": "worker died"}, "nodes answer", "b: worker died"),
    ],
)
def test_a_failed_check_names_the_node(changes: dict[str, Any], name: str, found: str):
    failures = find_failures(make_node("a"), make_node("b", **changes))

    assert list(failures) == [name]
    assert found in failures[name]


def test_a_cluster_of_one_cpu_is_too_small():
    assert "1 nodes, 1 CPUs" in find_failures(make_node("a"))["resources"]


def test_without_a_cluster_there_is_one_row_and_exit_code_1(capsys, monkeypatch):
    assert run(["cluster", "check", "--address", "http://127.0.0.1:9", "--json"]) == 1

    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["ok"]) == ("dashboard", False)
    assert "no Ray cluster answers" in row["found"]


@pytest.mark.parametrize(("status", "ok"), [(200, False), (401, True), (500, False)])
def test_the_dashboard_must_ask_for_a_token(status: int, ok: bool):
    class Dashboard(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Dashboard) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            assert preflight._check_token(f"http://127.0.0.1:{server.server_port}").ok is ok
        finally:
            server.shutdown()
