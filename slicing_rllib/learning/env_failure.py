"""Errors that environments, and callbacks on their episodes, raise while they are sampled."""

import pickle
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple

import cloudpickle


class EnvironmentFailed(RuntimeError):
    """An environment raised an error in an env runner; that error is the cause of this one."""


class EnvFailure(NamedTuple):
    """An error of one environment, as an env runner reports it to the algorithm."""

    worker: int
    message: str
    """Env runner, type and text of the error."""
    error: bytes | None
    """The error itself, pickled; None where it cannot be."""
    is_restarted: bool
    """Whether the env runner goes on with a new environment."""

    @classmethod
    def describe(cls, worker: int, error: Exception, *, is_restarted: bool) -> "EnvFailure":
        """The failure of an env runner's environment."""
        message = f"step of env runner {worker}: {type(error).__name__}: {error}"
        return cls(worker, message, _try_pickle(error), is_restarted)

    def make_error(self) -> EnvironmentFailed:
        """What the algorithm raises, with the environment's own error as its cause."""
        failed = EnvironmentFailed(self.message)
        if self.error is not None:
            failed.__cause__ = pickle.loads(self.error)
        return failed


class FailureCount:
    """Counts the failed requests of each env runner in a row, and ends a run that has too many."""

    def __init__(self, tolerated: int) -> None:
        """`tolerated` is RLlib's `num_consecutive_env_runner_failures_tolerance`."""
        self._tolerated = tolerated
        self._in_a_row: defaultdict[int, int] = defaultdict(int)

    def count(self, worker: int, failures: Sequence[EnvFailure]) -> None:
        """Count one answer of an env runner.

        Raises: EnvironmentFailed if there are too many in a row, or if env runners do not restart.
        """
        if not failures:
            self._in_a_row[worker] = 0
            return
        self._in_a_row[worker] += 1
        last = failures[-1]
        if not last.is_restarted:
            raise last.make_error()
        if self._in_a_row[worker] > self._tolerated:
            error = last.make_error()
            error.add_note(
                f"more than num_consecutive_env_runner_failures_tolerance={self._tolerated} "
                "failures in a row"
            )
            raise error


class FailureCatcher:
    """Catches the error of the block and gives it to `handle`, which says whether it is done with.

    Environments are other people's code: every error that is not an exit of the process counts.
    """

    def __init__(self, handle: Callable[[Exception], bool]) -> None:
        self._handle = handle
        self.has_failed = False

    def __enter__(self) -> "FailureCatcher":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.has_failed = True
        return self._handle(error)


def _try_pickle(error: Exception) -> bytes | None:
    """The error pickled; None where it cannot be pickled and read again."""
    try:
        pickled = cloudpickle.dumps(error)
        pickle.loads(pickled)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError):
        return None
    return pickled
