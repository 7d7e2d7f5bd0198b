"""What a callback decided or noticed during training, for the record of the run."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One event of a run."""

    kind: str
    message: str
    """One sentence for people."""
    cell: str | None = None
    evidence: Mapping[str, Any] = {}
    """Plain values that the decision was based on."""
