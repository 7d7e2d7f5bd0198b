"""The release that a service serves, and a thread that follows new releases."""

import logging
import threading

from slicing_rllib.policies import PolicyError
from slicing_rllib.service.errors import RunError
from slicing_rllib.service.serving.settings import ServiceArguments
from slicing_rllib.service.serving.versions.policy_source import open_source
from slicing_rllib.service.serving.versions.served_policies import ServedPolicies, load_release
from slicing_rllib.transfer import LibraryError

log = logging.getLogger(__name__)

LOADING_ERRORS = (RunError, LibraryError, PolicyError)


def load_first(arguments: ServiceArguments) -> ServedPolicies:
    """What a service with these arguments starts with.

    Raises: RunError, LibraryError or PolicyError if it cannot start.
    """
    source = open_source(arguments.run, arguments.name)
    history = source.read_release() if arguments.follows_release else None
    if history is None:
        return load_release(source, arguments.release, None)
    return load_release(source, history.release, history.revision)


class PolicyHolder:
    """The release that is served. Changes replace it as a whole.

    Args:
        arguments: where policies come from and how often to look for changes.
    """

    def __init__(self, arguments: ServiceArguments) -> None:
        self.arguments = arguments
        self.served: ServedPolicies | None = None
        self.problem: str | None = None
        """Why a newer release is not served; None if the newest one is."""
        self.changed_files: list[str] = []
        """Files that have been overwritten or removed since they were loaded."""
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def load(self, arguments: ServiceArguments) -> None:
        """Serves what these arguments choose. If that fails, what was served before stays.

        Raises: RunError, LibraryError or PolicyError if nothing was served before.
        """
        with self._lock:
            self.arguments = arguments
            try:
                self._replace(load_first(arguments))
            except LOADING_ERRORS as error:
                if self.served is None:
                    raise
                self._report(str(error))

    def watch(self) -> None:
        """Looks for new releases and changed files until `stop`, in a thread."""
        threading.Thread(target=self._watch, name="releases", daemon=True).start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()

    def look(self) -> None:
        """One look for a new release and for changed files."""
        with self._lock:
            if self.served is None:
                return
            try:
                self._follow(self.served)
            except LOADING_ERRORS as error:
                self._report(str(error))

    def _follow(self, served: ServedPolicies) -> None:
        # The same source as before: opening a run or an export again would parse all its files.
        source = served.source
        history = source.read_release() if self.arguments.follows_release else None
        if history is not None and history.revision != served.revision:
            self._replace(load_release(source, history.release, history.revision))
            return
        now = set(source.read_states(served.chosen))
        changed = sorted(state.path for state in served.states if state not in now)
        if changed and changed != self.changed_files:
            log.warning("served files have changed since they were loaded: %s", ", ".join(changed))
        self.changed_files = changed
        self.problem = None

    def _replace(self, served: ServedPolicies) -> None:
        self.served, self.problem, self.changed_files = served, None, []

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            log.error("the release before goes on: %s", problem)
        self.problem = problem

    def _watch(self) -> None:
        while not self._stopped.wait(self.arguments.poll_s):
            self.look()
