"""Kinds of events that a warm start reports."""

from enum import StrEnum


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
