"""The release that a service has loaded: how it follows a library's release, and how that changes.

A `ServedPolicies` is one release in memory; `PolicyHolder` replaces it as a whole when the library
has a new one. `change_release` checks and writes a new release and waits until it is served.
"""

import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

from slicing_rllib.policies import PolicyError
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.serving.admission import read_token
from slicing_rllib.serving.decisions import PolicySet
from slicing_rllib.serving.policy_source import (
    FileState,
    LibrarySource,
    PolicySource,
    index_by_cell,
    open_source,
)
from slicing_rllib.serving.release import Release, ReleaseHistory, ServiceArguments
from slicing_rllib.serving.release_gate import compare_interfaces, compare_on_traffic
from slicing_rllib.storage.errors import RunError
from slicing_rllib.storage.foreign_files import MAX_JSON_BYTES
from slicing_rllib.transfer import LibraryError, PolicyLibrary

log = logging.getLogger(__name__)

LOADING_ERRORS = (RunError, LibraryError, PolicyError)
POLL_S = 0.2
ANSWERS = 10
"""Answers in a row per replica after which all replicas are taken to serve a release: requests go
to replicas at random, and there may be more of them than the least number that is configured."""


@dataclass(frozen=True)
class ServedPolicies:
    """One release in memory. It never changes, so that a request meets one version throughout."""

    source: PolicySource
    release: Release
    revision: int | None
    """Number of the release in the library's release file; None if the file does not decide."""
    chosen: Mapping[str, int]
    """Version of each policy."""
    live: PolicySet
    """The policies that answer."""
    shadow: PolicySet | None
    """The policies that only answer for comparison."""
    states: tuple[FileState, ...]
    """The files, as they were when they were loaded."""


def load_release(source: PolicySource, release: Release, revision: int | None) -> ServedPolicies:
    """Loads and checks the policies of a release.

    Raises: RunError, LibraryError or PolicyError if any policy cannot be used.
    """
    versions = source.list_versions()
    chosen, shadow = release.select(versions), release.select_shadow(versions)
    # Before the files are read: a change in between is noticed later rather than never.
    states = tuple(source.read_states(chosen))
    return ServedPolicies(
        source=source,
        release=release,
        revision=revision,
        chosen=chosen,
        live=PolicySet(index_by_cell(source.load(chosen))),
        shadow=PolicySet(index_by_cell(source.load(shadow))) if shadow else None,
        states=states,
    )


def load_first(arguments: ServiceArguments) -> ServedPolicies:
    """What a service with these arguments starts with.

    Raises: RunError, LibraryError or PolicyError if it cannot start.
    """
    source, chosen = open_source(arguments.run, arguments.name), arguments.release
    history = source.read_release() if chosen is None else None
    if history is None:
        return load_release(source, chosen or Release(), None)
    return load_release(source, history.release, history.revision)


class PolicyHolder:
    """The release that is served. Changes replace it as a whole."""

    def __init__(self) -> None:
        self.served: ServedPolicies | None = None
        self.problem: str | None = None
        """Why a newer release is not served; None if the newest one is."""
        self.failed_revision: int | None = None
        """Number of the release in the library that could not be loaded."""
        self.changed_files: list[str] = []
        """Files that have been overwritten or removed since they were loaded."""
        self._follows_library = True
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def load(self, arguments: ServiceArguments) -> None:
        """Serves what these arguments choose. If that fails, what was served before stays.

        Raises: RunError, LibraryError or PolicyError if nothing was served before.
        """
        with self._lock:
            self._follows_library = arguments.release is None
            try:
                self._replace(load_first(arguments))
            except LOADING_ERRORS as error:
                if self.served is None:
                    raise
                self._report(str(error), None)

    def watch(self, poll_s: float) -> bool:
        """Whether a thread looks for new releases and changed files, until `stop`.

        Starts it if it does not run, or no longer.
        """

        def repeat() -> None:
            while not self._stopped.wait(poll_s):
                self.look()

        if not self._stopped.is_set() and (self._thread is None or not self._thread.is_alive()):
            thread = threading.Thread(target=repeat, name="releases", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # No further thread can be had.
                self._report(f"the thread that follows releases: {error}", None)
                return False
            self._thread = thread
        return not self._stopped.is_set()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()

    def look(self) -> None:
        """One look for a new release and for changed files. Whatever fails, it is reported."""
        with self._lock:
            if (served := self.served) is None:
                return
            # The same source as before: opening a run or an export again would parse its files.
            source, revision = served.source, None
            try:
                history = source.read_release() if self._follows_library else None
                if history is not None and history.revision != served.revision:
                    revision = history.revision
                    self._replace(load_release(source, history.release, revision))
                    return
                now = set(source.read_states(served.chosen))
            except LOADING_ERRORS as error:
                self._report(str(error), revision)
                return
            except Exception as error:  # Without it, no later release would be followed.
                self._report(f"{type(error).__name__}: {error}", revision)
                return
            changed = sorted(path for path, *state in served.states if (path, *state) not in now)
            if changed and changed != self.changed_files:
                log.warning("served files have changed since loading: %s", ", ".join(changed))
            self.changed_files, self.problem, self.failed_revision = changed, None, None

    def _replace(self, served: ServedPolicies) -> None:
        self.served, self.changed_files = served, []
        self.problem = self.failed_revision = None

    def _report(self, problem: str, revision: int | None) -> None:
        if problem != self.problem:
            log.error("the release before goes on: %s", problem)
        self.problem, self.failed_revision = problem, revision


def change_release(
    library: str,
    wanted: Release | None,
    url: str | None,
    timeout_s: float,
    name: str = "",
    *,
    run: RunDirectory | None = None,
    adds_run: bool = False,
    is_forced: bool = False,
) -> ServedPolicies:
    """Writes a new release after checks of all its policies, and waits until it is served.

    Args:
        library: the policy library.
        wanted: what is changed, see `ReleaseHistory.change`; None goes back to the one before.
        url: address of a service that follows the library; None does not wait for any.
        timeout_s: time that the service may take.
        name: the beginning of the names of the bundles that the service serves.
        run: on its network, the release is compared with the live one and with simple rules.
        adds_run: whether the run's policies are added to the library first, as a new version.
        is_forced: whether the release is made in spite of what the comparison says.

    Raises: RunError, LibraryError or PolicyError for a release that cannot be served or is worse,
        before anything has changed but the library's versions; RunError if the service does not
        serve it, after the release before is back.
    """
    source = LibrarySource(library, name)
    # Frozen before anything is added: the newest versions are those that are served now.
    versions = source.list_versions()
    before = source.read_release()
    if before is None and versions:
        before = ReleaseHistory(release=Release().freeze(versions))
    if run is not None and adds_run:
        # Imports PyTorch, which the service itself needs not.
        from slicing_rllib.runs.experience import add_run

        add_run(PolicyLibrary(library), run, None, name or None)
        versions = source.list_versions()
    if not versions:
        raise RunError(f"{library}: expected a policy library")
    is_first = before is None
    before = before or ReleaseHistory(release=Release().freeze(versions))
    after = before.change(wanted)
    after = after.model_copy(update={"release": after.release.freeze(versions)})
    loaded = load_release(source, after.release, after.revision)
    # A release that goes back has been served before.
    if not is_forced and not is_first and wanted is not None:
        _require_better(source, before.release, loaded, run)
    source.write_release(after)
    if url is not None:
        try:
            wait_for_revision(url, after.revision, timeout_s)
        except RunError as error:
            update = {"revision": after.revision + 1}
            source.write_release(before.model_copy(update=update))
            raise RunError(f"{error}; the release before is back") from error
    return loaded


def _require_better(
    source: PolicySource, live: Release, loaded: ServedPolicies, run: RunDirectory | None
) -> None:
    """Raises: RunError for a release that callers would notice, or that is worse than the live one,
    and for one of which that is not known."""
    served = load_release(source, live, None).live
    found = compare_interfaces(served, loaded.live)
    if loaded.shadow is not None:
        shadow = compare_interfaces(served, loaded.shadow)
        found += [f"the shadow cannot answer for {line}" for line in shadow]
    if not found and dict(loaded.chosen) != live.select(source.list_versions()):
        found = (
            ["no evaluation compares it with the live version; --run names a run to do it on"]
            if run is None
            else compare_on_traffic(served, loaded.live, run)
        )
    if found:
        more = f" and {len(found) - 1} more" * (len(found) > 1)
        raise RunError(f"release: refused: {found[0]}{more} (--force releases it all the same)")


def wait_for_revision(url: str, revision: int, timeout_s: float) -> None:
    """Waits until every replica of a service serves a release.

    Args:
        url: address of the service.
        revision: number of the release.
        timeout_s: time that the service may take.

    Raises: RunError if a replica cannot serve it, or does not within the time.
    """
    deadline, answers, last = time.monotonic() + timeout_s, 0, "no answer"
    replicas = set[str]()
    while time.monotonic() < deadline:
        try:
            health = _read_health(url)
        except (OSError, ValueError) as error:
            answers, last = 0, str(error)
            time.sleep(POLL_S)
            continue
        least = health["min_replicas"]
        if health["failed_revision"] == revision:
            why = health.get("problem", "a replica cannot load it; its log says why")
            raise RunError(f"{url}: {why}")
        is_served = health["revision"] == revision
        answers = answers + 1 if is_served else 0
        replicas.add(health["replica"])
        if len(replicas) >= least and answers >= ANSWERS * len(replicas):
            return
        last = f"{len(replicas)} of {least} replicas have answered"
        if not is_served:
            last = f"a replica serves revision {health['revision']}"
            time.sleep(POLL_S)
    raise RunError(f"{url}: expected revision {revision} within {timeout_s:g} s, {last}")


def _read_health(url: str) -> dict[str, Any]:
    request = Request(f"{url.rstrip('/').removesuffix('/v1')}/v1/health")
    if token := read_token(None):  # Only then, health says what is wrong.
        request.add_header("Authorization", f"Bearer {token}")
    with urlopen(request, timeout=5.0) as answer:
        return json.loads(answer.read(MAX_JSON_BYTES))
