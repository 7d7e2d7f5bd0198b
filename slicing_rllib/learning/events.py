"""What a callback decided or noticed during training, for the record of the run.

Kinds of events that a warm start reports.

Kinds of events: the values of `kind` in `events.jsonl` and of the metrics' tag of that name.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One event of a run."""

    kind: str
    message: str
    """One sentence for people."""
    cell: str | None = None
    evidence: Mapping[str, Any] = {}
    """Plain values that the decision was based on."""


class EventKind(StrEnum):
    """The `kind` of an event. The values appear in `events.jsonl` and as metric labels."""

    CELL_JOINED = "cell_joined"
    """A deployment has put the cell on the air; samples are being collected."""
    CELL_CHANGED = "cell_changed"
    """Drift was detected or a new warm start was requested; samples are collected anew."""
    SOURCE_CHOSEN = "source_chosen"
    """A source was selected. The evidence is the `TransferDecision`."""
    NO_SOURCE = "no_source"
    """No source was selected. The evidence is the `TransferDecision`."""
    WARM_STARTED = "warm_started"
    """Weights and experience were set, from a source or from scratch."""
    GUARD_PASSED = "guard_passed"
    """The guard's window has ended without evidence of harm."""
    NEGATIVE_TRANSFER = "negative_transfer"
    """The guard found the cell's policy to be worse than the default action."""
    GUARD_FELL_BACK = "guard_fell_back"
    """After negative transfer the default action, or the initial policy, governs the cell again."""
    POLICY_RESTORED = "policy_restored"
    """A cell did worse than its initial policy and got it back."""


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


EVENT_KINDS = frozenset[str]({*RunEventKind, *EventKind})
"""Every kind that a run may write. Dashboards and alerts refer to these values."""
