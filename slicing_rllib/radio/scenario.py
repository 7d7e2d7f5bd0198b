"""A scenario: the network, its slices and their SLAs, as frozen dataclasses."""

from copy import copy
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field
from pydantic.dataclasses import dataclass

from slicing_rllib.inputs.traces import TracedNetwork
from slicing_rllib.radio.settings import SETTINGS, Count, Positive, require_distinct
from slicing_rllib.radio.sites import Area, HexagonalCluster, HexagonalGrid, SiteList, SiteSpec
from slicing_rllib.radio.sparse_map import select_neighbours
from slicing_rllib.radio.specs import (
    IndoorSpec,
    MobilitySpec,
    OwnNetwork,
    RadioSpec,
    SliceSpec,
    SystemLevel,
    TtiLevel,
)
from slicing_rllib.radio.traffic import Mask, OwnMask, SyntheticMask, TraceMask
from slicing_rllib.registry import PartOf


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class SliceSla:
    """The SLA of a slice in one cell, for each UE while it is served."""

    throughput_mbps: Positive
    """Required throughput, phi* in the paper."""
    delay_ms: Positive
    """Highest allowed delay, d* in the paper."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class SlaGroup:
    """The SLAs that a group of cells has in common."""

    name: str
    """Name by which sites refer to the group."""
    slices: tuple[SliceSla, ...]
    """One SLA per slice, in slice order."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Scenario:
    """Everything that determines a simulation except its seeds."""

    name: str
    """Name of the scenario."""
    layout: HexagonalGrid | HexagonalCluster | SiteList
    """Positions, masts and SLA groups of the sites."""
    slices: Annotated[tuple[SliceSpec, ...], Field(min_length=1)]
    """The slices; every cell has all of them."""
    sla_groups: tuple[SlaGroup, ...]
    """The SLA groups that sites refer to."""
    radio: RadioSpec = RadioSpec()
    """Carrier, propagation and receivers."""
    indoor: IndoorSpec = IndoorSpec()
    """Indoor UEs."""
    mobility: MobilitySpec = MobilitySpec()
    """Movement and handover of UEs."""
    mask: SyntheticMask | TraceMask | OwnMask = SyntheticMask()
    """Share of UEs that are active, over time."""
    step_s: Positive = 1.0
    """Length of a slicing interval."""
    neighbours_kept: Count | Literal["all", "none"] = 6
    """The neighbours of a cell: its N most strongly coupled cells, all other cells, or none."""
    delay_cap_ms: Positive = 100.0
    """Highest delay that KPIs report."""
    queue: Annotated[str, PartOf("queue")] = "processor_sharing"
    """Queueing law of a slice. Oracles and base policies assume `processor_sharing`; `fifo` shows
    what happens when that model of the network is wrong."""
    network: SystemLevel | TtiLevel | OwnNetwork = SystemLevel()
    """What serves the UEs: the built-in simulator (`kind: system`), one that schedules every TTI
    (`kind: tti`), or a network of your own."""

    def __post_init__(self) -> None:
        """Raises: ValueError for a name that stands twice, or SLA groups that do not fit."""
        where = f"scenario {self.name!r}"
        require_distinct(f"{where}, slices", [spec.name for spec in self.slices])
        require_distinct(f"{where}, sla_groups", [group.name for group in self.sla_groups])
        for group in self.sla_groups:
            if len(group.slices) != self.n_slices:
                raise ValueError(
                    f"{where}: sla group {group.name!r} must have {self.n_slices} slices, "
                    f"got {len(group.slices)}"
                )
        known = {group.name for group in self.sla_groups}
        for name in (name for site in self.sites for name in site.sla_groups):
            if name not in known:
                raise ValueError(
                    f"{where}: sla group must be one of {', '.join(sorted(known))}, got {name!r}"
                )

    @cached_property
    def sites(self) -> tuple[SiteSpec, ...]:
        """The sites, in the order of their cells."""
        return self.layout.sites

    @property
    def area(self) -> Area:
        """The area in which UEs move."""
        return self.layout.area

    @cached_property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells, cell_1, cell_2 ...: the sectors of the sites, in order."""
        n_cells = sum(len(site.mast.azimuths_deg) for site in self.sites)
        return tuple(f"cell_{k}" for k in range(1, n_cells + 1))

    @cached_property
    def cell_ids(self) -> tuple[str, ...]:
        """The operator's name of each cell; the cell's own name where the layout has none."""
        given = [
            name
            for site in self.sites
            for name in site.cell_ids or ("",) * len(site.mast.azimuths_deg)
        ]
        return tuple(name or cell for name, cell in zip(given, self.cells, strict=True))

    @property
    def traced_network(self) -> TracedNetwork:
        """What a traffic mask needs to know of the network."""
        return TracedNetwork(
            cells=self.cells,
            cell_ids=self.cell_ids,
            slices=tuple(spec.name for spec in self.slices),
            users=tuple(spec.users for spec in self.slices),
            rate_kbps=tuple(spec.traffic.rate_kbps for spec in self.slices),
            step_s=self.step_s,
        )

    def bind_mask(self, seed: int) -> Mask:
        """The traffic mask of this network; `seed` determines the phases of a synthetic one.

        Raises: ValueError for a traffic file that cannot be used.
        """
        return self.mask.bind(self.traced_network, seed)

    @property
    def has_closed_form(self) -> bool:
        """Whether oracles and counterfactual rewards, which know the built-in simulator's law, are
        those of this network."""
        return self.network.kind == "system"

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return len(self.slices)

    @cached_property
    def sla_throughput_mbps(self) -> Float[np.ndarray, "cell slice"]:
        """Required throughput, phi* in the paper. Read-only."""
        return self._make_sla_table("throughput_mbps")

    @cached_property
    def sla_delay_ms(self) -> Float[np.ndarray, "cell slice"]:
        """Highest allowed delay, d* in the paper. Read-only."""
        return self._make_sla_table("delay_ms")

    @cached_property
    def neighbours(self) -> Int[np.ndarray, "cell neighbour"]:
        """Indices of each cell's neighbours, most strongly coupled first; -1 fills short rows."""
        match self.neighbours_kept:
            case "none":
                return np.zeros((len(self.cells), 0), np.int64)
            case "all":
                n = len(self.cells)
                return np.array([[i for i in range(n) if i != k] for k in range(n)])
            case kept:
                return select_neighbours(self.sites, self.area, self.radio, kept)

    def replace_slas(
        self,
        throughput_mbps: Float[np.ndarray, "cell slice"],
        delay_ms: Float[np.ndarray, "cell slice"],
    ) -> "Scenario":
        """The same network with other SLA tables, while it runs: YAML does not hold them."""
        changed = copy(self)
        for name, table in (("throughput_mbps", throughput_mbps), ("delay_ms", delay_ms)):
            table.setflags(write=False)
            vars(changed)[f"sla_{name}"] = table
        return changed

    def _make_sla_table(self, field_name: str) -> Float[np.ndarray, "cell slice"]:
        rows = {
            group.name: [getattr(sla, field_name) for sla in group.slices]
            for group in self.sla_groups
        }
        groups = [name for site in self.sites for name in site.sla_groups]
        table = np.array([rows[name] for name in groups], np.float64)
        table.setflags(write=False)
        return table
