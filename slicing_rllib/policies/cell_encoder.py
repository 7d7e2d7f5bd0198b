"""Everything between the KPIs that a cell measures and the observation of its policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from slicing_rllib.env import MESSAGES, OBSERVATIONS, Measurement, ObservedNetwork, ObservedSlice
from slicing_rllib.env.observation import MeanLoad, Message, NoMessage, PerNeighbour
from slicing_rllib.env.widened_observation import make_observer
from slicing_rllib.policies.kpi_schema import REQUIRED_KPIS, PerSlice, make_step_kpis
from slicing_rllib.radio import Scenario, StepKpis

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
