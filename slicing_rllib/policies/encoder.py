"""Everything between the KPIs that a cell measures and the observation of its policy.

The KPIs that policies read: names, units and limits, and which of them a policy needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from slicing_rllib.env import MESSAGES, OBSERVATIONS, Measurement, ObservedNetwork, ObservedSlice
from slicing_rllib.env.observation import MeanLoad, Message, NoMessage, PerNeighbour, make_observer
from slicing_rllib.radio import Phase, Scenario, StepKpis

PerSlice = Float[np.ndarray, "row slice"]


class KpiSpec(NamedTuple):
    """A KPI of one slice in one slicing interval."""

    unit: str
    """Unit of its values; "1" for numbers without a unit."""
    minimum: float
    """Smallest value that a cell can measure."""
    maximum: float
    """A larger value is a mistake of who measured it, such as one in another unit."""
    meaning: str
    """What is measured."""


KPI_SPECS = {
    "throughput_mbps": KpiSpec(
        "Mbit/s", 0.0, 1e5, "throughput of an active UE while it is served, mean over the UEs"
    ),
    "delay_ms": KpiSpec(
        "ms", 0.0, 1e5, "queueing delay and air time of a packet, mean over the active UEs"
    ),
    "load": KpiSpec("1", 0.0, 1.0, "share of the carrier's PRBs that the slice used"),
    "utilisation": KpiSpec("1", 0.0, 1.0, "share of the slice's own PRBs that it used"),
    "users": KpiSpec("1", 0.0, 1e5, "active UEs"),
    "prb_ratio": KpiSpec("1", 0.0, 1.0, "share of the carrier's PRBs that the slice was given"),
    "demand_mbps": KpiSpec("Mbit/s", 0.0, 1e5, "offered traffic"),
    "mean_inverse_rate": KpiSpec(
        "s/Mbit", 0.0, 1e3, "1 / rate of a UE on the whole carrier, mean over the active UEs"
    ),
    "sinr_db_p10": KpiSpec("dB", -60.0, 90.0, "10th percentile of the active UEs' SINR"),
    "sinr_db_p50": KpiSpec("dB", -60.0, 90.0, "median of the active UEs' SINR"),
    "sinr_db_p90": KpiSpec("dB", -60.0, 90.0, "90th percentile of the active UEs' SINR"),
}
"""By the name of the field of `StepKpis`."""
TOLERANCE = 1e-9
"""By so much a share may exceed its limits, which rounding can do."""

_PAPER = ("throughput_mbps", "load", "users")
BASE_POLICY_KPIS = ("throughput_mbps", "delay_ms", "prb_ratio", "demand_mbps", "mean_inverse_rate")
"""What the split that was best in the last interval follows from."""
REQUIRED_KPIS: Mapping[str, tuple[str, ...]] = {
    "paper": _PAPER,
    "widened": tuple(dict.fromkeys((*_PAPER, *BASE_POLICY_KPIS))),
    "per_slice": (
        *BASE_POLICY_KPIS,
        "utilisation",
        "users",
        "sinr_db_p10",
        "sinr_db_p50",
        "sinr_db_p90",
    ),
}
"""KPIs that each kind of observation is computed from."""


def make_step_kpis(columns: Mapping[str, PerSlice]) -> StepKpis:
    """KPIs of one row per cell; zeros for KPIs that nobody reads."""
    shape = next(iter(columns.values())).shape
    absent = np.zeros(shape)
    values = {name: columns.get(name, absent) for name in StepKpis._fields if name != "phase"}
    return StepKpis(**values, phase=np.full(shape[0], int(Phase.CONTROLLED)))


NeighbourLoad = Float[np.ndarray, "row neighbour slice"]


@dataclass(frozen=True, kw_only=True)
class CellEncoder:
    """What a policy bundle keeps of the network that its policy was trained in.

    Raises: ValueError for values that contradict each other.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    cell: str
    """Name of the cell."""
    slices: tuple[str, ...]
    """Names of the slices, in the order of the policy's output."""
    users: tuple[int, ...]
    """UEs per cell and slice, active or not: the scale of the number of active UEs."""
    sla_throughput_mbps: tuple[float, ...]
    """Required throughput of each slice."""
    sla_delay_ms: tuple[float, ...]
    """Highest permitted delay of each slice."""
    observation: str
    """Kind of observation, one of `OBSERVATIONS`."""
    message: str
    """What neighbours tell, one of `MESSAGES`."""
    neighbours: tuple[str, ...]
    """Cells whose load the message contains, in its order; empty without a message."""
    message_slots: int
    """Neighbours that the message has room for: the most that a cell of the network has."""

    def __post_init__(self) -> None:
        _require_member(f"{self.cell}: observation", self.observation, OBSERVATIONS)
        _require_member(f"{self.cell}: message", self.message, MESSAGES)
        if len(set(self.slices)) != len(self.slices) or not self.slices:
            raise ValueError(f"{self.cell}: expected distinct names of slices")
        for name in ("users", "sla_throughput_mbps", "sla_delay_ms"):
            values = np.array(getattr(self, name), float)
            if len(values) != len(self.slices) or not (np.isfinite(values) & (values > 0)).all():
                raise ValueError(f"{self.cell}: expected a positive {name} per slice")
        if not len(self.neighbours) <= self.message_slots:
            raise ValueError(f"{self.cell}: expected at most {self.message_slots} neighbours")

    @property
    def required_kpis(self) -> tuple[str, ...]:
        """KPIs that the observation is computed from."""
        return REQUIRED_KPIS[self.observation]

    @property
    def reads_message(self) -> bool:
        """Whether the observation depends on what neighbours report."""
        return bool(self.neighbours)

    def sla(self, rows: int) -> tuple[PerSlice, PerSlice]:
        """Required throughput and highest permitted delay, as `rows` equal rows."""
        shape = rows, len(self.slices)
        return (
            np.broadcast_to(np.array(self.sla_throughput_mbps, float), shape),
            np.broadcast_to(np.array(self.sla_delay_ms, float), shape),
        )

    def encode(
        self, columns: Mapping[str, PerSlice], neighbour_load: NeighbourLoad
    ) -> Float32[np.ndarray, "row obs"]:
        """Observations of this cell, by the functions that the environment uses.

        Args:
            columns: this cell's KPIs by name, one row per interval.
            neighbour_load: load of the neighbours in the same intervals.
        """
        rows = len(neighbour_load)
        network = self.make_network(rows)
        kpis = _append_neighbours(columns, neighbour_load)
        observer = make_observer(self.observation, network, self._make_message(network))
        return observer(Measurement(network)(kpis, 0), np.ones(len(network.cells), bool))[:rows]

    def base_split(self, columns: Mapping[str, PerSlice]) -> PerSlice:
        """The split that was best in the measured interval: what the base policy answers."""
        kpis = make_step_kpis(columns)
        return Measurement(self.make_network(len(kpis.load), 0))(kpis, 0).base_split

    def make_network(self, rows: int, n_neighbours: int | None = None) -> ObservedNetwork:
        """This cell `rows` times, followed by the neighbours of each of these rows."""
        n = len(self.neighbours) if n_neighbours is None else n_neighbours
        neighbours = np.full((rows * (1 + n), self.message_slots), -1)
        neighbours[:rows, :n] = rows + np.arange(rows * n).reshape(rows, n)
        throughput_mbps, delay_ms = self.sla(len(neighbours))
        return ObservedNetwork(
            cells=(self.cell,) * len(neighbours),
            slices=tuple(
                ObservedSlice(name=name, users=users)
                for name, users in zip(self.slices, self.users, strict=True)
            ),
            sla_throughput_mbps=throughput_mbps,
            sla_delay_ms=delay_ms,
            neighbours=neighbours,
        )

    def _make_message(self, network: ObservedNetwork) -> Message:
        match self.message:
            case "none":
                return NoMessage()
            case "mean_load":
                return MeanLoad(network.neighbours)
            case _:  # The load of all cells is that of one neighbour after the other.
                return PerNeighbour(network.neighbours)


def make_encoders(scenario: Scenario, observation: str, message: str) -> dict[str, CellEncoder]:
    """The encoder of each cell of a network.

    Args:
        scenario: the network.
        observation: kind of observation, one of `OBSERVATIONS`.
        message: what neighbours tell, one of `MESSAGES`.
    """
    message = "none" if observation == "per_slice" else message
    neighbours, slots = _list_neighbours(scenario, message)
    return {
        cell: CellEncoder(
            cell=cell,
            slices=tuple(spec.name for spec in scenario.slices),
            users=tuple(spec.users for spec in scenario.slices),
            sla_throughput_mbps=tuple(scenario.sla_throughput_mbps[row].tolist()),
            sla_delay_ms=tuple(scenario.sla_delay_ms[row].tolist()),
            observation=observation,
            message=message,
            neighbours=neighbours[row],
            message_slots=slots,
        )
        for row, cell in enumerate(scenario.cells)
    }


def stack_columns(kpis: Sequence[StepKpis], row: int, names: Sequence[str]) -> dict[str, PerSlice]:
    """KPIs of one cell over several steps, by name."""
    return {name: np.stack([getattr(step, name)[row] for step in kpis]) for name in names}


def _list_neighbours(scenario: Scenario, message: str) -> tuple[list[tuple[str, ...]], int]:
    """For each cell, the cells whose load its message contains; and the most that a cell has."""
    cells = scenario.cells
    match message:
        case "none":
            return [()] * len(cells), 0
        case "all_cells":
            return [cells] * len(cells), len(cells)
        case _:
            rows: list[list[int]] = scenario.neighbours.tolist()
            named = [tuple(cells[i] for i in row if i >= 0) for row in rows]
            return named, scenario.neighbours.shape[1]


def _append_neighbours(columns: Mapping[str, PerSlice], neighbour_load: NeighbourLoad) -> StepKpis:
    """KPIs with rows for the neighbours, of which only the load matters."""
    extra = neighbour_load.reshape(-1, neighbour_load.shape[2])
    ones = np.ones_like(extra)
    appended = {name: np.concatenate([column, ones]) for name, column in columns.items()}
    own = columns.get("load", np.zeros((len(neighbour_load), neighbour_load.shape[2])))
    return make_step_kpis(appended | {"load": np.concatenate([own, extra])})


def _require_member(where: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{where}: expected one of {', '.join(known)}, got {value!r}")
