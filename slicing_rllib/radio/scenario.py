"""A network and its slices, as frozen values that check themselves once."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.radio.antenna import ColumnAntenna, SectorAntenna
from slicing_rllib.radio.checks import FORBID_UNKNOWN, require_distinct, require_positive
from slicing_rllib.radio.environment import ENVIRONMENTS
from slicing_rllib.radio.layout import Layout
from slicing_rllib.radio.sites import HexagonalCluster, HexagonalGrid, SiteList, SiteSpec
from slicing_rllib.radio.traffic import SyntheticMask, TraceMask


@dataclass(frozen=True, kw_only=True)
class SliceSla:
    """What a slice is promised, per UE while it is served."""

    __pydantic_config__ = FORBID_UNKNOWN

    throughput_mbps: float
    delay_ms: float

    def __post_init__(self) -> None:
        require_positive("sla", throughput_mbps=self.throughput_mbps, delay_ms=self.delay_ms)


@dataclass(frozen=True, kw_only=True)
class SlaGroup:
    """The promises of a kind of cell, one per slice."""

    __pydantic_config__ = FORBID_UNKNOWN

    name: str
    slices: tuple[SliceSla, ...]


@dataclass(frozen=True, kw_only=True)
class TrafficSpec:
    """Packets of one active UE: mean rate and mean size; the size's law does not matter."""

    __pydantic_config__ = FORBID_UNKNOWN

    rate_kbps: float
    packet_kbit: float

    def __post_init__(self) -> None:
        require_positive("traffic", rate_kbps=self.rate_kbps, packet_kbit=self.packet_kbit)


@dataclass(frozen=True, kw_only=True)
class SliceSpec:
    """A slice: its traffic and how many UEs it has per cell of the network, active or not."""

    __pydantic_config__ = FORBID_UNKNOWN

    name: str
    traffic: TrafficSpec
    users: int = 32

    def __post_init__(self) -> None:
        require_positive(f"slice {self.name!r}", users=self.users)


@dataclass(frozen=True, kw_only=True)
class MobilitySpec:
    """Random direction: straight legs, each with a direction and a speed of its own.

    UEs that are spread evenly stay so, on a torus and between reflecting walls.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    min_speed_kmh: float = 3.0
    max_speed_kmh: float = 30.0
    leg_steps: int = 16
    """Length of a leg; UEs begin theirs at different steps."""
    handover_hysteresis_db: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_speed_kmh <= self.max_speed_kmh:
            raise ValueError(
                "mobility: expected 0 <= min_speed_kmh <= max_speed_kmh, "
                f"got {self.min_speed_kmh} and {self.max_speed_kmh}"
            )
        require_positive("mobility", leg_steps=self.leg_steps)
        if not self.handover_hysteresis_db >= 0:
            raise ValueError(
                "mobility: handover_hysteresis_db must not be negative, "
                f"got {self.handover_hysteresis_db}"
            )


@dataclass(frozen=True, kw_only=True)
class IndoorSpec:
    """UEs inside buildings. Source of the values: TR 36.873, tables 6-1 and 7.2-1."""

    __pydantic_config__ = FORBID_UNKNOWN

    share: float = 0.0
    """Of all UEs."""
    wall_db: float = 20.0
    inside_db_per_m: float = 0.5
    max_depth_m: float = 25.0
    """UEs are evenly deep in their buildings, down to this."""
    min_floors: int = 4
    max_floors: int = 8
    floor_height_m: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"indoor: share must be in [0, 1], got {self.share}")
        if not 1 <= self.min_floors <= self.max_floors:
            raise ValueError(
                "indoor: expected 1 <= min_floors <= max_floors, "
                f"got {self.min_floors} and {self.max_floors}"
            )


@dataclass(frozen=True, kw_only=True)
class RadioSpec:
    """Carrier, propagation and receiver, the same for all cells."""

    __pydantic_config__ = FORBID_UNKNOWN

    carrier_hz: float = 2.6e9
    n_prbs: int = 100
    prb_hz: float = 180e3
    noise_figure_db: float = 9.0
    environment: str = "winner_c2"
    """Path loss, line of sight and shadowing: a name in `ENVIRONMENTS`."""
    site_correlation: float = 0.5
    """Correlation of two sites' shadowing at one place."""
    antenna: SectorAntenna | ColumnAntenna = field(default_factory=SectorAntenna)
    ue_height_m: float = 1.5
    min_distance_m: float = 35.0
    """Horizontal distance below which the path loss is that at this distance."""
    map_resolution_m: float = 10.0
    cells_kept: int = 16
    """Strongest cells kept per map position in a network of more cells than this."""
    link: Literal["shannon", "cqi"] = "shannon"
    placement: Literal["contiguous", "random"] = "contiguous"
    """Where a slice's PRBs lie: in a range, ranges in slice order; or anywhere."""
    idle_load: float = 0.05
    """What a cell without traffic still transmits, as a share of its PRBs."""

    def __post_init__(self) -> None:
        for name in _POSITIVE_RADIO:
            require_positive("radio", **{name: getattr(self, name)})
        for name in ("site_correlation", "idle_load"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"radio: {name} must be in [0, 1], got {getattr(self, name)}")
        if self.environment not in ENVIRONMENTS:
            raise ValueError(
                f"radio: environment must be one of {', '.join(ENVIRONMENTS)}, "
                f"got {self.environment!r}"
            )

    @property
    def bandwidth_hz(self) -> float:
        return self.n_prbs * self.prb_hz


_POSITIVE_RADIO = (
    "carrier_hz",
    "n_prbs",
    "prb_hz",
    "ue_height_m",
    "min_distance_m",
    "map_resolution_m",
    "cells_kept",
)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """All that a simulator needs but the seed.

    Raises: ValueError, one line, for what makes no sense.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    name: str
    layout: HexagonalGrid | HexagonalCluster | SiteList
    slices: tuple[SliceSpec, ...]
    sla_groups: tuple[SlaGroup, ...]
    radio: RadioSpec = field(default_factory=RadioSpec)
    indoor: IndoorSpec = field(default_factory=IndoorSpec)
    mobility: MobilitySpec = field(default_factory=MobilitySpec)
    mask: SyntheticMask | TraceMask = field(default_factory=SyntheticMask)
    step_s: float = 1.0
    neighbours_kept: int | Literal["all", "none"] = 6
    """Whose load a cell is told: its most strongly coupled cells', everybody's, or nobody's."""
    delay_cap_ms: float = 100.0

    def __post_init__(self) -> None:
        where = f"scenario {self.name!r}"
        if not self.slices:
            raise ValueError(f"{where}: expected at least one slice in slices")
        require_positive(where, step_s=self.step_s, delay_cap_ms=self.delay_cap_ms)
        require_distinct(f"{where}, slices", [spec.name for spec in self.slices])
        require_distinct(f"{where}, sla_groups", [group.name for group in self.sla_groups])
        _check_groups(where, self)
        kept = self.neighbours_kept
        if isinstance(kept, int) and kept < 1:
            raise ValueError(f"{where}: neighbours_kept must be 1 or more, 'all' or 'none'")

    @cached_property
    def sites(self) -> tuple[SiteSpec, ...]:
        return self.layout.sites

    @property
    def ground(self) -> Layout:
        """The area that UEs move in."""
        return self.layout.ground

    @cached_property
    def cells(self) -> tuple[str, ...]:
        """cell_1, cell_2 ...: the sectors of the sites, in order."""
        n_cells = sum(len(site.mast.azimuths_deg) for site in self.sites)
        return tuple(f"cell_{k}" for k in range(1, n_cells + 1))

    @property
    def n_slices(self) -> int:
        return len(self.slices)

    @cached_property
    def sla_throughput_mbps(self) -> Float[np.ndarray, "cell slice"]:
        return self._promised("throughput_mbps")

    @cached_property
    def sla_delay_ms(self) -> Float[np.ndarray, "cell slice"]:
        return self._promised("delay_ms")

    @cached_property
    def neighbours(self) -> Int[np.ndarray, "cell neighbour"]:
        """Cells whose load each cell is told, strongest coupled first; -1 where there are fewer."""
        from slicing_rllib.radio.neighbours import neighbours_of

        return neighbours_of(self)

    def _promised(self, what: str) -> Float[np.ndarray, "cell slice"]:
        rows = {
            group.name: [getattr(sla, what) for sla in group.slices] for group in self.sla_groups
        }
        promised = np.array(
            [rows[name] for site in self.sites for name in site.sla_groups], np.float64
        )
        promised.setflags(write=False)
        return promised


def _check_groups(where: str, scenario: Scenario) -> None:
    known = {group.name for group in scenario.sla_groups}
    for group in scenario.sla_groups:
        if len(group.slices) != len(scenario.slices):
            raise ValueError(
                f"{where}: sla group {group.name!r} must have {len(scenario.slices)} slices, "
                f"got {len(group.slices)}"
            )
    for name in (name for site in scenario.sites for name in site.sla_groups):
        if name not in known:
            raise ValueError(
                f"{where}: sla group must be one of {', '.join(sorted(known))}, got {name!r}"
            )
