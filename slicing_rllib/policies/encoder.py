"""From the KPIs that a cell measures and the load of its neighbours to its policy's observation.

`KPI_SPECS` are the KPIs that policies read, with units and limits. A `CellEncoder` is what a policy
keeps of the network that it was trained in. `encode_rows` computes the observations of many cells
at once, by the functions of the environment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from slicing_rllib.env import Measurement, ObservedNetwork, ObservedSlice
from slicing_rllib.env.base_policies import Smoothing
from slicing_rllib.env.measurement import MEMORY
from slicing_rllib.env.observation import KPIS, CellObserver
from slicing_rllib.radio import Phase, Scenario, StepKpis
from slicing_rllib.registry import foreign_names, get_part

PerSlice = Float[np.ndarray, "row slice"]
NeighbourLoad = Float[np.ndarray, "row neighbour slice"]


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
    "response": (*BASE_POLICY_KPIS, "utilisation", "users", "load"),
}
"""KPIs that each kind of observation is computed from."""


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
    """Kind of observation, by its name in the registry."""
    message: str
    """What neighbours tell, by its name in the registry."""
    neighbours: tuple[str, ...]
    """Cells whose load the message contains, in its order; empty without a message."""
    base_policy: str = "persistence"
    """The rule whose split the observation ends with."""
    smoothing: Smoothing = field(default_factory=Smoothing)
    """What `smoothed_persistence` does."""
    message_slots: int
    """Neighbours that the message has room for: the most that a cell of the network has."""

    def __post_init__(self) -> None:
        # A bundle may be a stranger's.
        with foreign_names():
            get_part("observation", self.observation)
            get_part("message", self.message)
            get_part("base_policy", self.base_policy)
        if len(set(self.slices)) != len(self.slices) or not self.slices:
            raise ValueError(f"{self.cell}: expected distinct names of slices")
        for name in ("users", "sla_throughput_mbps", "sla_delay_ms"):
            values = np.array(getattr(self, name), float)
            if len(values) != len(self.slices) or not (np.isfinite(values) & (values > 0)).all():
                raise ValueError(f"{self.cell}: expected a positive {name} per slice")
        if not len(self.neighbours) <= self.message_slots:
            raise ValueError(f"{self.cell}: expected at most {self.message_slots} neighbours")

    @property
    def remembers(self) -> bool:
        """Whether the observation depends on earlier reports too."""
        return self.observation == "response" or self.base_policy == "smoothed_persistence"

    @property
    def required_kpis(self) -> tuple[str, ...]:
        """KPIs that the observation is computed from."""
        return REQUIRED_KPIS.get(self.observation, tuple(KPI_SPECS))


def encode_rows(
    encoders: Sequence[CellEncoder],
    columns: Mapping[str, PerSlice],
    neighbour_load: NeighbourLoad,
    earlier: Sequence[Mapping[str, PerSlice]] = (),
) -> Float32[np.ndarray, "row obs"]:
    """Observations of cells whose encoders differ in name, SLA and neighbours only.

    Args:
        encoders: the encoder of each row.
        columns: KPIs by name.
        neighbour_load: load of the neighbours; slots after a cell's last neighbour may be left out.
        earlier: KPIs of the reports before, the oldest first; without them cells start from
            their last report.
    """
    first, n_rows = encoders[0], len(encoders)
    absent, phase = np.zeros((n_rows, len(first.slices))), np.full(n_rows, int(Phase.CONTROLLED))
    kpis = [
        StepKpis(**{name: report.get(name, absent) for name in KPIS}, phase=phase)
        for report in (*earlier, columns)
    ]
    network = ObservedNetwork(
        cells=tuple(encoder.cell for encoder in encoders),
        slices=tuple(
            ObservedSlice(name=name, users=users)
            for name, users in zip(first.slices, first.users, strict=True)
        ),
        sla_throughput_mbps=np.array([encoder.sla_throughput_mbps for encoder in encoders]),
        sla_delay_ms=np.array([encoder.sla_delay_ms for encoder in encoders]),
        neighbours=np.empty((n_rows, 0), int),
    )
    received = _form_message(encoders, neighbour_load)
    observer = CellObserver(
        first.observation, network, lambda load: received, first.base_policy, first.smoothing
    )
    measure = Measurement(network)
    return observer([measure(report, 0) for report in kpis], np.ones(n_rows, bool))


def _form_message(
    encoders: Sequence[CellEncoder], neighbour_load: NeighbourLoad
) -> Float[np.ndarray, "row message"]:
    kind, n_rows, n_slots = encoders[0].message, len(encoders), encoders[0].message_slots
    if kind == "none":
        return np.empty((n_rows, 0))
    padded = np.zeros((n_rows, n_slots, neighbour_load.shape[2]))
    padded[:, : neighbour_load.shape[1]] = neighbour_load
    if kind == "all_cells":  # As many slots as the network has cells.
        return padded.reshape(n_rows, -1)
    # A table of loads as a network has it: first the cells themselves, then all their neighbours.
    load = np.concatenate(
        [np.zeros((n_rows, padded.shape[2])), padded.reshape(-1, padded.shape[2])]
    )
    neighbours = np.full((len(load), n_slots), -1)
    is_used = np.arange(n_slots) < np.array([[len(e.neighbours)] for e in encoders])
    neighbours[:n_rows][is_used] = np.arange(n_rows, len(load))[is_used.ravel()]
    network = ObservedNetwork(
        cells=tuple(str(row) for row in range(len(load))),
        slices=tuple(ObservedSlice(name=name, users=1) for name in encoders[0].slices),
        sla_throughput_mbps=np.ones_like(load),
        sla_delay_ms=np.ones_like(load),
        neighbours=neighbours,
    )
    return get_part("message", kind)(network)(load)[:n_rows]


def make_encoders(
    scenario: Scenario,
    observation: str,
    message: str,
    base_policy: str = "persistence",
    smoothing: Smoothing | None = None,
) -> dict[str, CellEncoder]:
    """The encoder of each cell of a network.

    Args:
        scenario: the network.
        observation: kind of observation, by its name in the registry.
        message: what neighbours tell, by its name in the registry.
        base_policy: the rule whose split observations end with.
        smoothing: what `smoothed_persistence` does; None for its defaults.
    """
    message = "none" if observation == "per_slice" else message
    cells = scenario.cells
    match message:
        case "none":
            neighbours, slots = [()] * len(cells), 0
        case "all_cells":
            neighbours, slots = [cells] * len(cells), len(cells)
        case _:
            rows: list[list[int]] = scenario.neighbours.tolist()
            neighbours = [tuple(cells[i] for i in row if i >= 0) for row in rows]
            slots = scenario.neighbours.shape[1]
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
            base_policy=base_policy,
            smoothing=smoothing or Smoothing(),
        )
        for row, cell in enumerate(cells)
    }


def stack_kpis(kpis: Sequence[StepKpis], row: int, names: Sequence[str]) -> dict[str, PerSlice]:
    """KPIs of one cell over several steps, by name."""
    return {name: np.stack([getattr(step, name)[row] for step in kpis]) for name in names}


def recall_intervals(columns: Mapping[str, PerSlice]) -> list[dict[str, PerSlice]]:
    """The `earlier` reports of rows that are consecutive intervals of one cell."""
    rows = np.arange(len(next(iter(columns.values()))))
    return [
        {name: values[np.maximum(rows - back, 0)] for name, values in columns.items()}
        for back in range(MEMORY - 1, 0, -1)
    ]
