"""Kinds of events: the values of `kind` in `events.jsonl` and of the metrics' tag of that name."""

from enum import StrEnum

from slicing_rllib.transfer.events import EventKind as TransferEventKind


class RunEventKind(StrEnum):
    """What happens to a run as a whole, and to the processes that it uses."""

    STARTED = "started"
    RESUMED = "resumed"
    INTERRUPTED = "interrupted"
    """Somebody asked the run to stop."""
    FINISHED = "finished"
    STALLED = "stalled"
    """An iteration made no network step."""
    NOT_FINITE = "not_finite"
    """A loss or reward was NaN or infinite."""
    CHECKPOINT_WRITTEN = "checkpoint_written"
    """Counted in metrics only: `checkpoints/` itself shows it."""
    CHECKPOINT_PASSED_OVER = "checkpoint_passed_over"
    """A checkpoint did not verify, so an older one is used."""
    NO_COMPARISON = "no_comparison"
    """The run with and without transfer ended with the same policies."""
    STORAGE_FAILED = "storage_failed"
    """The run directory could not be written, for example because the disk is full."""
    WORKER_LOST = "worker_lost"
    """An env runner no longer answers, because its process or its node was lost."""
    WORKER_RESTARTED = "worker_restarted"
    ENVIRONMENT_FAILED = "environment_failed"
    """An environment raised an error in an env runner, which goes on with a new one."""


EVENT_KINDS = frozenset[str]({*RunEventKind, *TransferEventKind})
"""Every kind that a run may write. Dashboards and alerts refer to these values."""
