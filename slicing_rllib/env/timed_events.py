"""What changes in a running network at given steps: cells that join, SLAs, traffic, outages."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, cast

import numpy as np
from jaxtyping import Float
from pydantic import BeforeValidator, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from slicing_rllib.radio import Phase, Scenario, SliceSla
from slicing_rllib.radio.settings import SETTINGS, Steps

PerSlice = Float[np.ndarray, "cell slice"]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Deployment:
    """A cell that joins a running network: off, then under the default action, then controlled.

    Steps are network steps since the last reset with a seed.
    """

    cell: str
    """Name of the cell."""
    off_until: Steps
    """First step at which the cell is on the air, under the default action."""
    default_action_until: Steps
    """First step at which the cell's own policy decides."""

    def __post_init__(self) -> None:
        """Raises: ValueError if the cell's policy decides before the cell is on the air."""
        if self.off_until > self.default_action_until:
            raise ValueError(
                f"deployment of {self.cell}: expected off_until <= default_action_until, "
                f"got {self.off_until} and {self.default_action_until}"
            )

    def phase_at(self, step: int) -> Phase:
        """Phase of the cell in a network step."""
        if step < self.off_until:
            return Phase.OFF
        return Phase.DEFAULT if step < self.default_action_until else Phase.CONTROLLED


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class TimedEvent:
    """One change from a network step on; exactly one of `sla`, `load` and `off`.

    Steps are network steps since the last reset with a seed.
    """

    step: Steps
    """First step with the change."""
    cell: str | None = None
    """Cell that changes. Default: all cells."""
    slice: str | None = None
    """Slice that changes. Default: all slices."""
    sla: SliceSla | None = None
    """The new SLA."""
    load: Annotated[float, Field(ge=0, le=1000)] | None = None
    """Factor of the scenario's share of active UEs, up to all of them. With 0 a slice has no users,
    no PRBs and no part in the reward: it begins or ends where that changes."""
    off: bool | None = None
    """Whether the cell goes off, or is on again under its own policy."""

    def __post_init__(self) -> None:
        """Raises: ValueError unless there is one change that fits cell and slice."""
        changes = [name for name in ("sla", "load", "off") if getattr(self, name) is not None]
        if len(changes) != 1:
            got = " and ".join(changes) or "none"
            raise ValueError(
                f"event at step {self.step}: expected one of sla, load, off, got {got}"
            )
        if self.off is not None and (self.cell is None or self.slice is not None):
            raise ValueError(f"event at step {self.step}: off expects a cell and no slice")

    def describe(self) -> str:
        """What changes, for people."""
        where = " of ".join(name for name in (self.slice, self.cell) if name) or "all cells"
        if self.sla is not None:
            return f"{where}: SLA {self.sla.throughput_mbps:g} Mbit/s, {self.sla.delay_ms:g} ms"
        if self.off is not None:
            return f"{where}: {'off' if self.off else 'on again'}"
        return f"{where}: {self.load:g} times the scenario's traffic"


def _name_off(events: Any) -> Any:
    """Events whose key `off` is text: without quotes, YAML 1.1 reads the word as a boolean."""
    if not isinstance(events, list | tuple):
        return events
    return tuple(
        {
            "off" if key is False else key: value
            for key, value in cast("dict[Any, Any]", event).items()
        }
        if isinstance(event, dict)
        else event
        for event in cast("Sequence[Any]", events)
    )


TimedEvents = Annotated[tuple[TimedEvent, ...], BeforeValidator(_name_off)]
EVENTS: TypeAdapter[tuple[TimedEvent, ...]] = TypeAdapter(TimedEvents)


def read_events(events: Sequence[Any], scenario: Scenario) -> tuple[TimedEvent, ...]:
    """Events, or mappings as in YAML. Raises: ValueError for what does not fit the scenario."""
    read = EVENTS.validate_python(tuple(events))
    for problem in find_unknown(read, scenario):
        raise ValueError(problem)
    return read


def find_unknown(events: Sequence[TimedEvent], scenario: Scenario) -> Iterator[str]:
    """What is wrong with the names of cells and slices."""
    for event in events:
        known = {"cell": scenario.cells, "slice": tuple(spec.name for spec in scenario.slices)}
        for kind, names in known.items():
            name = getattr(event, kind)
            if name is not None and name not in names:
                expected = f"{names[0]} to {names[-1]}"
                yield f"event at step {event.step}: {kind}: expected {expected}, got {name!r}"


def find_conditions(
    events: Sequence[TimedEvent], step: int, scenario: Scenario
) -> tuple[Scenario, PerSlice]:
    """The scenario with the SLAs of a step, and the factors of its traffic."""
    factors = np.ones((len(scenario.cells), scenario.n_slices))
    throughput_mbps, delay_ms = scenario.sla_throughput_mbps.copy(), scenario.sla_delay_ms.copy()
    slices = [spec.name for spec in scenario.slices]
    for event in sorted(events, key=lambda each: each.step):
        rows = slice(None) if event.cell is None else scenario.cells.index(event.cell)
        columns = slice(None) if event.slice is None else slices.index(event.slice)
        if event.step <= step and event.sla is not None:
            throughput_mbps[rows, columns] = event.sla.throughput_mbps
            delay_ms[rows, columns] = event.sla.delay_ms
        elif event.step <= step and event.load is not None:
            factors[rows, columns] = event.load
    return scenario.replace_slas(throughput_mbps, delay_ms), factors


def list_switches(events: Sequence[TimedEvent], step: int) -> dict[str, Phase]:
    """Cells that go off, or on again, at this very step."""
    at_step = [event for event in events if event.step == step and event.off is not None]
    return {str(e.cell): Phase.OFF if e.off else Phase.CONTROLLED for e in at_step}
