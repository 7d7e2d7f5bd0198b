"""Stages of a cell between joining a run and running under its own policy.

    Collecting  -> Probing, Guarded or Settled
    Probing     -> Probing, Guarded or Settled
    Guarded     -> CoolingDown or Settled
    CoolingDown -> Guarded or Settled
    Settled     -> Collecting, on drift or on request

`StageRecords` keeps the stages of all cells as plain values in the algorithm's checkpointed
`callback_state`, so that a run can stop and resume between any two iterations.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from slicing_rllib.transfer.guard import GuardWindow

STATE_KEY = "transfer"
"""Entry of `callback_state` that holds the records."""


@dataclass(frozen=True, kw_only=True)
class WarmStartPlan:
    """Sources that can still be tried."""

    ranking: tuple[str, ...] = ()
    """Names of the sources, the next one first; empty: learn from scratch."""
    distances: Mapping[str, float] = field(default_factory=dict)
    """Distance of each source that was compared."""
    attempts: int = 0
    """Warm starts that were made so far."""


@dataclass(frozen=True, kw_only=True)
class Collecting:
    """The default action governs the cell; samples for the comparison are collected."""

    stage: Literal["collecting"] = "collecting"
    until: int
    """First network step that the cell's own policy is to decide."""


@dataclass(frozen=True, kw_only=True)
class Probing:
    """Each source's policy governs the cell for one iteration (measure `zero_shot`)."""

    stage: Literal["probing"] = "probing"
    until: int
    """As in `Collecting`."""
    trying: str
    """Source whose policy governs the cell in this iteration."""
    queue: tuple[str, ...]
    """Sources that are tried after it, in order."""
    returns: Mapping[str, float]
    """Mean reward per step of each source that was tried."""


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """The transferred policy governs the cell and is compared with the fallback."""

    stage: Literal["guarded"] = "guarded"
    source: str | None
    plan: WarmStartPlan
    """What is tried if this policy does harm."""
    window: GuardWindow = field(default_factory=GuardWindow)
    """What the comparison has shown so far."""


@dataclass(frozen=True, kw_only=True)
class CoolingDown:
    """The fallback governs the cell after a harmful transfer."""

    stage: Literal["cooling_down"] = "cooling_down"
    until: int
    """Network step at which the next source of the plan is tried."""
    plan: WarmStartPlan


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The cell's own policy governs the cell without a guard."""

    stage: Literal["settled"] = "settled"
    source: str | None
    """Source of the last warm start; None for learning from scratch."""


CellStage = Collecting | Probing | Guarded | CoolingDown | Settled
PLAIN: TypeAdapter[CellStage] = TypeAdapter(Annotated[CellStage, Field(discriminator="stage")])
"""Turns stages into plain values and back."""


class StageRecords:
    """The stages of all cells that a warm start has dealt with.

    Args:
        callback_state: the algorithm's `callback_state`; records are written to its entry
            "transfer", which is created if it is missing.
    """

    def __init__(self, callback_state: MutableMapping[str, Any]) -> None:
        self._records: dict[str, dict[str, Any]] = callback_state.setdefault(STATE_KEY, {})

    def __contains__(self, cell: object) -> bool:
        return cell in self._records

    def read(self, cell: str) -> CellStage:
        """The cell's stage. Raises: KeyError for a cell without a record."""
        return PLAIN.validate_python(self._records[cell])

    def write(self, cell: str, stage: CellStage) -> None:
        """Replace the cell's stage."""
        self._records[cell] = PLAIN.dump_python(stage, mode="json")

    def list_unsettled(self) -> list[str]:
        """Cells whose warm start is not finished, in the order in which they were recorded."""
        return [cell for cell in self._records if not self.is_settled(cell)]

    def is_settled(self, cell: str) -> bool:
        """True for a cell whose warm start is finished, or that never had one."""
        return cell not in self or self._records[cell]["stage"] == "settled"
