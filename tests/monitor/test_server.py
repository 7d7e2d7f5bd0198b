"""What the monitor answers, over a real socket, to friend and foe."""

import json
import os
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

SCRIPT = "<script>alert(1)</script>"


def test_a_run_and_a_folder_of_runs_are_both_served(run: Any, serve: Callable):
    run.iterate(2)
    one, many = serve(run.folder), serve(run.folder.parent)

    assert [each["id"] for each in one.json("/api/runs")["runs"]] == ["."]
    assert [each["id"] for each in many.json("/api/runs")["runs"]] == ["first"]


def test_the_newest_run_is_listed_first(run: Any, write_run: type, serve: Callable):
    run.iterate()
    other = write_run(run.folder.parent / "deep" / "second")
    other.iterate()
    os.utime(run.folder / "metrics.jsonl", (1, 1))
    listed = serve(run.folder.parent).json("/api/runs")["runs"]

    assert [each["id"] for each in listed] == ["deep/second", "first"]


def test_a_snapshot_holds_the_run_so_far(run: Any, serve: Callable):
    run.iterate(12)
    run.newcomer()
    run.finish()
    told = serve(run.folder).json("/api/run")

    assert [row["env_steps"] for row in told["progress"]] == [100 * i for i in range(1, 13)]
    assert len(told["latest"]["satisfaction"]) == 12
    assert told["events"][1]["evidence"]["source"] == "cell_5"
    assert told["summary"]["policies"]["tl"]["reward_mean"] == 0.92
    assert told["finished"]


def test_the_stream_tells_what_is_written_while_it_is_open(run: Any, serve: Callable):
    run.iterate(2)
    stream = serve(run.folder).stream()
    kind, snapshot = next(stream)
    run.iterate()
    run.newcomer()
    news: list[dict] = []
    while not any(each["events"] for each in news):
        news += [content for _, content in islice(stream, 1)]
    stream.close()

    assert (kind, len(snapshot["progress"])) == ("snapshot", 2)
    assert [row["iteration"] for each in news for row in each["progress"]] == [3]


def test_a_run_begun_anew_is_told_from_its_start(run: Any, serve: Callable):
    run.iterate(5)
    stream = serve(run.folder).stream()
    next(stream)
    (run.folder / "metrics.jsonl").unlink()
    run.iterations = 0
    run.iterate()
    kind, snapshot = next(stream)
    stream.close()

    assert (kind, [row["iteration"] for row in snapshot["progress"]]) == ("snapshot", [1])


def test_a_cells_history_is_told_per_slice(run: Any, serve: Callable):
    run.iterate(3)
    told = serve(run.folder).json("/api/cell?run=.&cell=cell_1")

    assert len(told["throughput_mbps"]) == 4
    assert told["iteration"] == [1, 2, 3]
    assert told["neighbours"][0]["load"] == pytest.approx(0.6, abs=1e-3)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.", "["])
def test_a_foreign_host_is_refused(run: Any, serve: Callable, host: str):
    server = serve(run.folder)

    assert server.get("/", host=host)[0] in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "[::1]:80", "127.0.0.1"])
def test_loopback_names_are_served(run: Any, serve: Callable, host: str):
    assert serve(run.folder).get("/", host=host)[0] == 200


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
def test_nothing_outside_is_served(run: Any, write_run: type, serve: Callable, target: str):
    run.iterate()
    write_run(run.folder.parent.parent / "secret").iterate()

    assert serve(run.folder.parent).get(target)[0] == 404


def test_links_out_of_the_folder_are_not_followed(run: Any, write_run: type, serve: Callable):
    secret = write_run(run.folder.parent.parent / "secret")
    secret.iterate()
    (run.folder.parent / "linked").symlink_to(secret.folder)
    (run.folder / "metrics.jsonl").symlink_to(secret.folder / "metrics.jsonl")
    (run.folder / "summary.json").symlink_to(secret.folder / "config.yaml")
    server = serve(run.folder.parent)

    assert "linked" not in [each["id"] for each in server.json("/api/runs")["runs"]]
    assert server.json("/api/run?run=first")["progress"] == []


def test_every_answer_forbids_foreign_content(run: Any, serve: Callable):
    run.iterate()
    server = serve(run.folder)
    for target in ("/", "/page/main.js", "/api/run", "/nowhere"):
        headers = server.get(target)[1]

        assert "script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_the_page_names_no_other_host(run: Any, serve: Callable):
    server = serve(run.folder)
    page = Path(__file__).parents[2] / "slicing_rllib/monitor/page"
    for path in page.iterdir():
        body = server.get(f"/page/{path.name}")[2].decode()

        assert "//" not in body.replace("http://www.w3.org", "").replace("// ", ""), path.name


def test_a_hostile_run_directory_is_told_as_far_as_it_makes_sense(run: Any, serve: Callable):
    run.line("metrics.jsonl", "{broken")
    run.line("metrics.jsonl", '{"cells": {"a": {"reward": ' + "9" * 5000 + "}}}")
    run.line("metrics.jsonl", '{"cells": [], "iteration": {}, "env_steps": "x"}')
    run.line("metrics.jsonl", json.dumps({"cells": {SCRIPT: {"reward": 1e999, "load": "x"}}}))
    run.line("metrics.jsonl", json.dumps({"cells": {SCRIPT: {"throughput_mbps": [[1]] * 99}}}))
    run.line("events.jsonl", json.dumps({"kind": [SCRIPT], "message": {"x": 1}, "evidence": [1]}))
    run.line("events.jsonl", json.dumps({"kind": SCRIPT, "message": SCRIPT, "cell": 7}))
    (run.folder / "summary.json").write_text('{"policies": {"drl": [NaN, 1e999]}}')
    (run.folder / "config.yaml").write_bytes(b"\xff\xfe\x00scenario: paper")
    told = serve(run.folder).json("/api/run")

    assert told["cells"] == [SCRIPT]
    assert told["unreadable_lines"] >= 1
    assert told["network"]["problem"]
    assert told["events"][1]["kind"] == SCRIPT
    assert told["summary"]["policies"] == {"drl": [None, None]}


def test_a_run_that_fell_silent_says_for_how_long(run: Any, serve: Callable):
    run.iterate()
    hour_ago = time.time() - 3600
    os.utime(run.folder / "metrics.jsonl", (hour_ago, hour_ago))
    told = serve(run.folder).json("/api/run")

    assert told["quiet_s"] == pytest.approx(3600, abs=60)
    assert not told["finished"]
