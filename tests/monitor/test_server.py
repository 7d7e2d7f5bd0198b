"""The answers of the monitor over HTTP, to normal and to hostile requests."""

import json
import os
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

SCRIPT = "<script>alert(1)</script>"
FOREIGN_HOSTS = [
    "evil.example", "127.0.0.1.evil.example", "evil.example:80@localhost", "", "localhost.", "[",
    "[::1].evil.example", "[::2]:80", "localhost:80:80",
]  # fmt: skip


def test_a_run_or_a_folder_of_runs_can_be_served(run: Any, serve: Callable):
    run.add_iterations(2)
    one, many = serve(run.folder), serve(run.folder.parent)

    assert [row["id"] for row in one.get_json("/api/runs")["runs"]] == ["."]
    assert [row["id"] for row in many.get_json("/api/runs")["runs"]] == ["first"]


def test_the_newest_run_is_listed_first(run: Any, write_run: type, serve: Callable):
    run.add_iterations()
    other = write_run(run.folder.parent / "deep" / "second")
    other.add_iterations()
    os.utime(run.folder / "metrics.jsonl", (1, 1))
    listed = serve(run.folder.parent).get_json("/api/runs")["runs"]

    assert [row["id"] for row in listed] == ["deep/second", "first"]


def test_a_snapshot_contains_the_whole_run(run: Any, serve: Callable):
    run.add_iterations(12)
    run.add_transfer()
    run.write_summary()
    answer = serve(run.folder).get_json("/api/run")

    assert [row["env_steps"] for row in answer["progress"]] == [100 * i for i in range(1, 13)]
    assert len(answer["latest"]["satisfaction"]) == 12
    assert answer["events"][1]["evidence"]["source"] == "cell_5"
    assert answer["summary"]["policies"]["td3_transferred"]["reward_mean"] == 0.92
    assert answer["finished"]


def test_the_stream_sends_what_is_written_while_it_is_open(run: Any, serve: Callable):
    run.add_iterations(2)
    stream = serve(run.folder).open_stream()
    kind, snapshot = next(stream)
    run.add_iterations()
    run.add_transfer()
    changes: list[dict] = []
    while not any(change["events"] for change in changes):
        changes += [content for _, content in islice(stream, 1)]
    stream.close()

    assert (kind, len(snapshot["progress"])) == ("snapshot", 2)
    assert [row["iteration"] for change in changes for row in change["progress"]] == [3]


def test_a_run_that_is_started_again_is_sent_as_a_new_snapshot(run: Any, serve: Callable):
    run.add_iterations(5)
    stream = serve(run.folder).open_stream()
    next(stream)
    (run.folder / "metrics.jsonl").unlink()
    run.iterations = 0
    run.add_iterations()
    kind, snapshot = next(stream)
    stream.close()

    assert (kind, [row["iteration"] for row in snapshot["progress"]]) == ("snapshot", [1])


def test_the_history_of_a_cell_is_sent_per_slice(run: Any, serve: Callable):
    run.add_iterations(3)
    answer = serve(run.folder).get_json("/api/cell?run=.&cell=cell_1")

    assert len(answer["throughput_mbps"]) == 4
    assert answer["iteration"] == [1, 2, 3]
    assert answer["neighbours"][0]["load"] == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_foreign_host_is_refused(run: Any, serve: Callable, host: str):
    server = serve(run.folder)

    assert server.get("/", host=host)[0] == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "[::1]:80", "127.0.0.1"])
def test_loopback_names_are_served(run: Any, serve: Callable, host: str):
    assert serve(run.folder).get("/", host=host)[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("monitor.example:8080", 200), ("a.monitor.example", 400), ("example", 400)],
)
def test_an_allowed_name_is_served_too(run: Any, serve: Callable, host: str, status: int):
    """Its subdomains and the domain above it are not."""
    server = serve(run.folder, allowed_hosts=["Monitor.example"])

    assert server.get("/", host=host)[0] == status


def test_a_name_without_www_is_not_redirected(run: Any, serve: Callable):
    """A redirect would contain the foreign name of the Host header."""
    server = serve(run.folder, allowed_hosts=["www.monitor.example"])

    assert server.get("/", host="monitor.example")[0] == 400


@pytest.mark.parametrize(
    "target",
    [
        "/page/../server.py",
        "/page/..%2fserver.py",
        "/page/%2e%2e/server.py",
        "/page//etc/passwd",
        "/../../etc/passwd",
        "/api/run?run=..",
        "/api/run?run=../secret",
        "/api/run?run=/etc",
        "/api/run?run=%00",
        "/api/stream?run=../secret",
        "/api/cell?run=first&cell=../../secret",
    ],
)
def test_nothing_outside_the_folder_is_served(
    run: Any, write_run: type, serve: Callable, target: str
):
    run.add_iterations()
    write_run(run.folder.parent.parent / "secret").add_iterations()

    assert serve(run.folder.parent).get(target)[0] == 404


def test_links_out_of_the_folder_are_not_followed(run: Any, write_run: type, serve: Callable):
    secret = write_run(run.folder.parent.parent / "secret")
    secret.add_iterations()
    (run.folder.parent / "linked").symlink_to(secret.folder)
    (run.folder / "metrics.jsonl").symlink_to(secret.folder / "metrics.jsonl")
    (run.folder / "summary.json").symlink_to(secret.folder / "config.yaml")
    server = serve(run.folder.parent)

    assert "linked" not in [row["id"] for row in server.get_json("/api/runs")["runs"]]
    assert server.get_json("/api/run?run=first")["progress"] == []


def test_every_answer_forbids_content_of_other_hosts(run: Any, serve: Callable):
    run.add_iterations()
    server = serve(run.folder)
    for target in ("/", "/page/main.js", "/api/run", "/nowhere"):
        headers = server.get(target)[1]

        assert "script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_refers_to_no_other_host(run: Any, serve: Callable):
    server = serve(run.folder)
    page = Path(__file__).parents[2] / "slicing_rllib/monitor/page"
    for path in page.iterdir():
        body = server.get(f"/page/{path.name}")[2].decode()

        assert "//" not in body.replace("http://www.w3.org", "").replace("// ", ""), path.name


def test_the_valid_parts_of_a_hostile_run_directory_are_sent(run: Any, serve: Callable):
    run.append_line("metrics.jsonl", "{broken")
    run.append_line("metrics.jsonl", '{"cells": {"a": {"reward": ' + "9" * 5000 + "}}}")
    run.append_line("metrics.jsonl", '{"cells": [], "iteration": {}, "env_steps": "x"}')
    run.append_line(
        "metrics.jsonl", json.dumps({"cells": {SCRIPT: {"reward": 1e999, "load": "x"}}})
    )
    run.append_line(
        "metrics.jsonl", json.dumps({"cells": {SCRIPT: {"throughput_mbps": [[1]] * 99}}})
    )
    run.append_line(
        "events.jsonl", json.dumps({"kind": [SCRIPT], "message": {"x": 1}, "evidence": [1]})
    )
    run.append_line("events.jsonl", json.dumps({"kind": SCRIPT, "message": SCRIPT, "cell": 7}))
    (run.folder / "summary.json").write_text('{"policies": {"drl": [NaN, 1e999]}}')
    (run.folder / "config.yaml").write_bytes(b"\xff\xfe\x00scenario: paper")
    answer = serve(run.folder).get_json("/api/run")

    assert answer["cells"] == [SCRIPT]
    assert answer["unreadable_lines"] >= 1
    assert answer["network"]["problem"]
    assert answer["events"][1]["kind"] == SCRIPT
    assert answer["summary"]["policies"] == {"drl": [None, None]}


def test_a_snapshot_says_how_long_a_run_has_written_nothing(run: Any, serve: Callable):
    run.add_iterations()
    hour_ago = time.time() - 3600
    os.utime(run.folder / "metrics.jsonl", (hour_ago, hour_ago))
    answer = serve(run.folder).get_json("/api/run")

    assert answer["quiet_s"] == pytest.approx(3600, abs=60)
    assert not answer["finished"]
