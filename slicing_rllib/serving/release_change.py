"""Changes the release of a library and waits until its services serve it."""

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from slicing_rllib.serving.policy_source import LibrarySource, load_release
from slicing_rllib.serving.release import RELEASE_FILE, Release, ReleaseHistory
from slicing_rllib.storage.errors import RunError
from slicing_rllib.transfer import PolicyLibrary

POLL_S = 0.2
ANSWERS = 10
"""Answers in a row per replica after which all replicas are taken to serve a release: requests go
to replicas at random, and there may be more of them than the least number that is configured."""

Change = Callable[[ReleaseHistory], ReleaseHistory]


class RolloutResult(NamedTuple):
    """What a library's services follow now."""

    revision: int
    release: Release
    policies: dict[str, int]
    """Version of each policy."""


def roll_out(
    library: str, change: Change, url: str | None, timeout_s: float, name: str = ""
) -> RolloutResult:
    """Writes a new release after a check of all its policies, and waits until it is served.

    Args:
        library: the policy library.
        change: from the present release to the new one.
        url: address of a service that follows the library; None does not wait for any.
        timeout_s: time that the service may take.
        name: the beginning of the names of the bundles that the service serves.

    Raises: RunError, LibraryError or PolicyError for a release that cannot be served, before
        anything has changed; RunError if the service does not serve it, after the release before
        is back.
    """
    source, opened = LibrarySource(library, name), PolicyLibrary(library)
    if not source.list_versions():
        raise RunError(f"{library}: expected a policy library")
    versions = source.list_versions()
    before = source.read_release() or ReleaseHistory(release=Release().freeze(versions))
    after = change(before)
    after = after.model_copy(update={"release": after.release.freeze(versions)})
    loaded = load_release(source, after.release, after.revision)
    known_problem = None if url is None else _read_problem(url)
    _write(opened, after)
    if url is not None:
        try:
            wait_for_revision(url, after.revision, timeout_s, known_problem)
        except RunError as error:
            _write(opened, after.roll_back())
            raise RunError(f"{error}; the release before is back") from error
    return RolloutResult(after.revision, after.release, dict(loaded.chosen))


def wait_for_revision(
    url: str, revision: int, timeout_s: float, known_problem: str | None = None
) -> None:
    """Waits until every replica of a service serves a release.

    Args:
        url: address of the service.
        revision: number of the release.
        timeout_s: time that the service may take.
        known_problem: what replicas report about an earlier release until they look for this one.

    Raises: RunError if a replica cannot serve it, or does not within the time.
    """
    deadline, answers, last = time.monotonic() + timeout_s, 0, "no answer"
    replicas: set[str] = set()
    while time.monotonic() < deadline:
        try:
            health = _read_health(url)
        except (HTTPError, URLError, OSError, ValueError) as error:
            answers, last = 0, str(error)
            time.sleep(POLL_S)
            continue
        problem, least = health["problem"], health["min_replicas"]
        if problem and problem != known_problem:
            raise RunError(f"{url}: {problem}")
        is_served = health["revision"] == revision
        answers = answers + 1 if is_served else 0
        replicas.add(health["replica"])
        if len(replicas) >= least and answers >= ANSWERS * len(replicas):
            return
        last = f"{len(replicas)} of {least} replicas have answered"
        if not is_served:
            last = problem or f"a replica serves revision {health['revision']}"
            time.sleep(POLL_S)
    raise RunError(f"{url}: expected revision {revision} within {timeout_s:g} s, {last}")


def _read_problem(url: str) -> str | None:
    """What a service reports about its present release; None if it does not answer."""
    try:
        return _read_health(url)["problem"]
    except (HTTPError, URLError, OSError, ValueError):
        return None


def _read_health(url: str) -> dict[str, Any]:
    with urlopen(f"{url.rstrip('/').removesuffix('/v1')}/v1/health", timeout=5.0) as answer:
        return json.load(answer)


def _write(library: PolicyLibrary, history: ReleaseHistory) -> None:
    library.write_file(RELEASE_FILE, history.model_dump_json(indent=1).encode())
