"""The release in memory, and how a command learns that all replicas of a service serve it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from slicing_rllib.serving import served_release
from slicing_rllib.serving.release import RELEASE_FILE, Release, ReleaseHistory, ServiceArguments
from slicing_rllib.serving.served_release import (
    ANSWERS,
    PolicyHolder,
    load_first,
    wait_for_revision,
)
from slicing_rllib.storage.errors import RunError


class FakeService(HTTPServer):
    """Answers with one health after the other; the last one stays."""

    def __init__(self, answers: list[dict]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.n_answered = answers, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer = self.server.answers[min(self.server.n_answered, len(self.server.answers) - 1)]
        self.server.n_answered += 1
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Prints nothing."""


def describe(replica: str, revision: int, failed_revision: int | None = None) -> dict:
    health = {"replica": replica, "revision": revision, "min_replicas": 2}
    return health | {"failed_revision": failed_revision, "problem": "no version 9"}


@pytest.fixture
def start() -> Iterator:
    servers: list[FakeService] = []

    def make(answers: list[dict]) -> FakeService:
        servers.append(FakeService(answers))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,)).start()
        return servers[-1]

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def test_answers_of_one_replica_do_not_speak_for_the_other(start):
    """30 answers of the first replica, then one of the second, which is behind, then of both."""
    first = [describe("a", 2)] * 30
    both = [describe("b", 2), *[describe("a", 2)] * 100]
    service = start([*first, describe("b", 1), *both])

    wait_for_revision(service.url, 2, 30.0)

    assert service.n_answered == len(first) + 1 + 2 * ANSWERS


def test_a_replica_that_never_answers_ends_the_wait(start):
    service = start([describe("a", 2)])
    with pytest.raises(RunError, match=r"within 0.5 s, 1 of 2 replicas have answered"):
        wait_for_revision(service.url, 2, 0.5)


def test_a_replica_with_a_problem_ends_the_wait(start):
    service = start([describe("a", 2), describe("b", 1, 2)])
    with pytest.raises(RunError, match="no version 9"):
        wait_for_revision(service.url, 2, 30.0)


def test_a_problem_with_an_earlier_release_does_not_end_the_wait(start):
    """The replicas look for the new release only after the first answers."""
    stale = [describe("a", 0, 1), describe("b", 0, 1)]
    service = start([*stale, *[describe("a", 2), describe("b", 2)] * 100])
    wait_for_revision(service.url, 2, 30.0)
    assert service.n_answered == 2 + 2 * ANSWERS


def test_a_release_that_cannot_be_loaded_leaves_the_one_before(library: Path):
    """A file of a release written by hand, without the checks of `release`."""
    arguments = ServiceArguments(run=str(library))
    holder = PolicyHolder()
    holder.load(arguments)
    before = holder.served
    history = ReleaseHistory(revision=2, release=Release(version=7))
    (library / RELEASE_FILE).write_text(history.model_dump_json())
    holder.look()

    assert holder.served is before
    assert "quick-cell_1 has no version 7" in holder.problem
    (library / RELEASE_FILE).write_text(history.change(Release(version=1)).model_dump_json())
    holder.look()
    assert holder.problem is None
    assert set(holder.served.chosen.values()) == {1}
    assert holder.served.revision == 3


def test_pinned_services_ignore_the_release(library: Path):
    history = ReleaseHistory(revision=2, release=Release(version=1))
    (library / RELEASE_FILE).write_text(history.model_dump_json())
    assert set(load_first(ServiceArguments(run=str(library))).chosen.values()) == {1}
    pinned = ServiceArguments(run=str(library), version=2, pins=("quick-cell_3@1",))
    chosen = load_first(pinned).chosen
    assert chosen.pop("quick-cell_3") == 1
    assert set(chosen.values()) == {2}


@pytest.fixture
def holder(library: Path) -> Iterator[PolicyHolder]:
    """Follows the library's releases, in a thread."""
    made = PolicyHolder()
    made.load(ServiceArguments(run=str(library)))
    assert made.watch(0.01)
    yield made
    made.stop()


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20.0
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("error", [KeyError("format"), MemoryError(), OSError(5, "I/O error")])
def test_no_error_ends_the_thread_that_follows_releases(
    library: Path, holder: PolicyHolder, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    """The bad release is reported with its number; the next good one is followed."""

    def fail(*arguments: object) -> None:
        raise error

    bad = ReleaseHistory(revision=2, release=Release(version=2))
    with monkeypatch.context() as patched:
        patched.setattr(served_release, "load_release", fail)
        (library / RELEASE_FILE).write_text(bad.model_dump_json())
        wait_until(lambda: holder.failed_revision == 2)
        assert type(error).__name__ in holder.problem
    (library / RELEASE_FILE).write_text(bad.change(Release(version=1)).model_dump_json())
    wait_until(lambda: holder.served.revision == 3)
    assert (holder.problem, holder.failed_revision) == (None, None)


def test_a_thread_that_has_ended_is_started_again(library: Path, holder: PolicyHolder):
    holder.stop()
    wait_until(lambda: not holder._thread.is_alive())
    assert not holder.watch(0.01)
    holder._stopped.clear()
    assert holder.watch(0.01)
    history = ReleaseHistory(revision=2, release=Release(version=1))
    (library / RELEASE_FILE).write_text(history.model_dump_json())
    wait_until(lambda: holder.served.revision == 2)


def test_where_no_thread_can_be_had_the_service_is_not_ready(
    holder: PolicyHolder, monkeypatch: pytest.MonkeyPatch
):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    holder._thread = None
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert not holder.watch(0.01)
    assert holder.problem == "the thread that follows releases: can't start new thread"
