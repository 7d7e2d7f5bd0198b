"""What happens during a training: events, for `events.jsonl`, metrics and the terminal."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class EventKind(StrEnum):
    """What happened: `kind` in `events.jsonl`, and a tag value of the metric `slicing_events`.

    Dashboards and alerts refer to these values. `runs/README.md` has them as a table.
    """

    STARTED = "started"
    """The training begins at environment step 0."""
    RESUMED = "resumed"
    """The training continues from a checkpoint."""
    INTERRUPTED = "interrupted"
    """A signal asked the run to stop; a checkpoint was written."""
    FINISHED = "finished"
    """The run was trained, evaluated and drawn."""
    STALLED = "stalled"
    """An iteration made no environment step, or takes long."""
    NOT_FINITE = "not_finite"
    """A loss or reward was NaN or infinite, which ends the run."""
    CHECKPOINT_WRITTEN = "checkpoint_written"
    """A checkpoint is complete. Only counted in the metrics, as `checkpoints/` shows it."""
    CHECKPOINT_PASSED_OVER = "checkpoint_passed_over"
    """A checkpoint did not verify, so the one before it is used."""
    NO_COMPARISON = "no_comparison"
    """The run with and without transfer ended with the same policies."""
    STORAGE_FAILED = "storage_failed"
    """The run directory could not be written, for example because the disk is full."""
    WORKER_LOST = "worker_lost"
    """An env runner no longer answers, because its process or its node was lost."""
    WORKER_RESTARTED = "worker_restarted"
    """Ray has restarted a lost env runner."""
    ENVIRONMENT_FAILED = "environment_failed"
    """An environment raised an error in an env runner, which continues with a new one."""
    CELL_JOINED = "cell_joined"
    """A deployment has put the cell on the air; samples are being collected."""
    NETWORK_CHANGED = "network_changed"
    """One of `env.events` has changed SLAs, traffic or the cells on the air."""
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


class Event(NamedTuple):
    """One event of a training."""

    kind: EventKind
    message: str
    """One sentence for people."""
    cell: str | None = None
    evidence: Mapping[str, Any] = {}
    """Plain values that the decision was based on."""
