"""Kinds of events: the values of `kind` in `events.jsonl` and of the metrics' tag of that name."""

from enum import StrEnum


class EventKind(StrEnum):
    """Every kind that a run may write. Dashboards and alerts refer to these values."""

    # Written by the training of a run.
    STARTED = "started"
    RESUMED = "resumed"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"
    STALLED = "stalled"
    """An iteration made no network step."""
    NOT_FINITE = "not_finite"
    """A loss or reward was NaN or infinite."""
    CHECKPOINT_WRITTEN = "checkpoint_written"
    """Counted in metrics only: `checkpoints/` itself shows it."""
    CHECKPOINT_PASSED_OVER = "checkpoint_passed_over"
    """A checkpoint did not verify, so an older one is used."""

    # Written by the warm start of a cell.
    CELL_JOINED = "cell_joined"
    CELL_CHANGED = "cell_changed"
    SOURCE_CHOSEN = "source_chosen"
    NO_SOURCE = "no_source"
    WARM_STARTED = "warm_started"
    GUARD_PASSED = "guard_passed"
    GUARD_FELL_BACK = "guard_fell_back"
    NEGATIVE_TRANSFER = "negative_transfer"

    # Written about Ray's processes and nodes.
    WORKER_LOST = "worker_lost"
    WORKER_RESTARTED = "worker_restarted"
    NODE_LOST = "node_lost"
