"""A slice: the UEs that it has in every cell, and what each of them sends.

Settings of the UEs: how they move, and how many of them are indoors.

Settings of the carrier, the propagation and the receivers.
"""

from dataclasses import dataclass, field
from typing import Literal

from slicing_rllib.radio.antenna import ColumnAntenna, SectorAntenna
from slicing_rllib.radio.checks import FORBID_UNKNOWN, require_positive
from slicing_rllib.radio.environment import ENVIRONMENTS


@dataclass(frozen=True, kw_only=True)
class TrafficSpec:
    """The traffic of one active UE. The distribution of packet sizes does not matter.

    Raises: ValueError unless both values are positive.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    rate_kbps: float
    """Mean offered rate, kbit/s."""
    packet_kbit: float
    """Mean packet size."""

    def __post_init__(self) -> None:
        require_positive("traffic", rate_kbps=self.rate_kbps, packet_kbit=self.packet_kbit)


@dataclass(frozen=True, kw_only=True)
class SliceSpec:
    """A slice and its UEs.

    Raises: ValueError unless there is at least one UE.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    name: str
    """Name of the slice, unique in a scenario."""
    traffic: TrafficSpec
    """Traffic of each of its active UEs."""
    users: int = 32
    """Number of UEs per cell of the network, active or not, at least 1."""

    def __post_init__(self) -> None:
        require_positive(f"slice {self.name!r}", users=self.users)


@dataclass(frozen=True, kw_only=True)
class MobilitySpec:
    """Random-direction mobility: straight legs, each with a random direction and speed.

    Uniformly distributed UEs stay uniformly distributed, on a torus and between reflecting walls.

    Raises: ValueError for a value out of range.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    min_speed_kmh: float = 3.0
    """Lowest speed of a leg, at least 0."""
    max_speed_kmh: float = 30.0
    """Highest speed of a leg, at least `min_speed_kmh`."""
    leg_steps: int = 16
    """Length of a leg in steps, at least 1. UEs start their legs at different steps."""
    handover_hysteresis_db: float = 2.0
    """A UE hands over once another cell is stronger than its serving cell by more than this."""

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
    """UEs inside buildings. Source of the default values: TR 36.873, tables 6-1 and 7.2-1.

    The simulator places indoor UEs on the ground floor; only a static drop uses the floors.

    Raises: ValueError for a value out of range.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    share: float = 0.0
    """Share of UEs that are indoors, in [0, 1]."""
    wall_db: float = 20.0
    """Penetration loss of the outer wall."""
    inside_db_per_m: float = 0.5
    """Additional loss per metre inside the building."""
    max_depth_m: float = 25.0
    """A UE's distance inside its building is uniform between 0 and this."""
    min_floors: int = 4
    """Lowest number of floors of a building, at least 1."""
    max_floors: int = 8
    """Highest number of floors of a building, at least `min_floors`."""
    floor_height_m: float = 3.0
    """Height of one floor."""

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
    """Carrier, propagation and receiver, the same for all cells.

    Raises: ValueError for a value out of range or an unknown environment.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    carrier_hz: float = 2.6e9
    """Carrier frequency."""
    n_prbs: int = 100
    """Number of PRBs of a carrier."""
    prb_hz: float = 180e3
    """Bandwidth of one PRB."""
    noise_figure_db: float = 9.0
    """Noise figure of a UE's receiver."""
    environment: str = "winner_c2"
    """Path loss, line of sight and shadowing: a name in `ENVIRONMENTS`."""
    site_correlation: float = 0.5
    """Correlation of the shadowing of two sites at one position, in [0, 1]."""
    antenna: SectorAntenna | ColumnAntenna = field(default_factory=SectorAntenna)
    """Antenna of every cell."""
    ue_height_m: float = 1.5
    """Height of a UE at street level."""
    min_distance_m: float = 35.0
    """Horizontal distance below which path loss and angles are those at this distance."""
    map_resolution_m: float = 10.0
    """Largest distance between neighbouring map positions."""
    cells_kept: int = 16
    """Number of strongest cells that the map keeps per position, at least 1.

    A network of at most this many cells keeps them all.
    """
    link: Literal["shannon", "cqi"] = "shannon"
    """Link abstraction: the truncated Shannon curve or the CQI table."""
    placement: Literal["contiguous", "random"] = "contiguous"
    """Which PRBs slices occupy: contiguous ranges in slice order, or random PRBs."""
    idle_load: float = 0.05
    """Load at which a cell without traffic interferes (reference signals), in [0, 1]."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
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
        """Bandwidth of the carrier."""
        return self.n_prbs * self.prb_hz


_POSITIVE = (
    "carrier_hz",
    "n_prbs",
    "prb_hz",
    "ue_height_m",
    "min_distance_m",
    "map_resolution_m",
    "cells_kept",
)
