"""Settings of slices, UEs, the carrier with its propagation and receivers, and kinds of network."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from slicing_rllib.radio.antenna import ColumnAntenna, SectorAntenna
from slicing_rllib.radio.settings import (
    SETTINGS,
    Attenuation,
    Count,
    Distance,
    Positive,
    Share,
    require_order,
)
from slicing_rllib.registry import PartOf


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class TrafficSpec:
    """The traffic of one active UE. The distribution of packet sizes does not matter."""

    rate_kbps: Positive
    """Mean offered rate, kbit/s."""
    packet_kbit: Positive
    """Mean packet size."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class SliceSpec:
    """A slice and the UEs that it has in every cell."""

    name: str
    """Name of the slice, unique in a scenario."""
    traffic: TrafficSpec
    """Traffic of each of its active UEs."""
    users: Count = 32
    """Number of UEs per cell of the network, active or not."""


Speed = Annotated[float, Field(ge=0, le=1e5)]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class MobilitySpec:
    """Random-direction mobility: straight legs, each with a random direction and speed.

    Uniformly distributed UEs stay uniformly distributed, on a torus and between reflecting walls.
    """

    min_speed_kmh: Speed = 3.0
    """Lowest speed of a leg."""
    max_speed_kmh: Speed = 30.0
    """Highest speed of a leg, at least `min_speed_kmh`."""
    leg_steps: Count = 16
    """Length of a leg in steps. UEs start their legs at different steps."""
    handover_hysteresis_db: Attenuation = 2.0
    """A UE hands over once another cell is stronger than its serving cell by more than this."""

    def __post_init__(self) -> None:
        """Raises: ValueError if the lowest speed exceeds the highest."""
        require_order("mobility", self, "min_speed_kmh", "max_speed_kmh")


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class IndoorSpec:
    """UEs inside buildings. Source of the default values: TR 36.873, tables 6-1 and 7.2-1.

    The simulator places indoor UEs on the ground floor; only a static drop uses the floors.
    """

    share: Share = 0.0
    """Share of UEs that are indoors."""
    wall_db: Attenuation = 20.0
    """Penetration loss of the outer wall."""
    inside_db_per_m: Attenuation = 0.5
    """Additional loss per metre inside the building."""
    max_depth_m: Annotated[float, Field(ge=0, le=1e4)] = 25.0
    """A UE's distance inside its building is uniform between 0 and this."""
    min_floors: Count = 4
    """Lowest number of floors of a building."""
    max_floors: Count = 8
    """Highest number of floors of a building, at least `min_floors`."""
    floor_height_m: Distance = 3.0
    """Height of one floor."""

    def __post_init__(self) -> None:
        """Raises: ValueError if the lowest number of floors exceeds the highest."""
        require_order("indoor", self, "min_floors", "max_floors")


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class RadioSpec:
    """Carrier, propagation and receiver, the same for all cells."""

    carrier_hz: Positive = 2.6e9
    """Carrier frequency."""
    n_prbs: Count = 100
    """Number of PRBs of a carrier."""
    prb_hz: Positive = 180e3
    """Bandwidth of one PRB."""
    noise_figure_db: Annotated[float, Field(ge=-100, le=100)] = 9.0
    """Noise figure of a UE's receiver."""
    environment: Annotated[str, PartOf("propagation")] = "winner_c2"
    """Path loss, line of sight and shadowing."""
    site_correlation: Share = 0.5
    """Correlation of the shadowing of two sites at one position."""
    antenna: SectorAntenna | ColumnAntenna = SectorAntenna()
    """Antenna of every cell."""
    ue_height_m: Distance = 1.5
    """Height of a UE at street level."""
    min_distance_m: Distance = 35.0
    """Horizontal distance below which path loss and angles are those at this distance."""
    map_resolution_m: Distance = 10.0
    """Largest distance between neighbouring map positions."""
    cells_kept: Count = 16
    """Number of strongest cells that the map keeps per position.

    A network of at most this many cells keeps them all.
    """
    link: Literal["shannon", "cqi"] = "shannon"
    """Link abstraction: the truncated Shannon curve or the CQI table."""
    placement: Annotated[str, PartOf("placement")] = "contiguous"
    """Which PRBs slices occupy: contiguous ranges in slice order, or random PRBs."""
    idle_load: Share = 0.05
    """Load at which a cell without traffic interferes (reference signals)."""

    @property
    def bandwidth_hz(self) -> float:
        """Bandwidth of the carrier."""
        return self.n_prbs * self.prb_hz


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class SystemLevel:
    """The built-in simulator: a fixed point of loads and a queueing law per step."""

    kind: Literal["system"] = "system"
    """Distinguishes the kinds of network in YAML."""


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class TtiLevel:
    """A network that is scheduled in every TTI of 1 ms, whose packets wait in queues."""

    kind: Literal["tti"]
    """Distinguishes the kinds of network in YAML."""
    prb_groups: Count = 25
    """Groups of neighbouring PRBs that are granted as a whole; at most the carrier's PRBs."""
    subbands: Count = 5
    """Parts of the carrier that fade on their own."""
    packet_sigma: Annotated[float, Field(ge=0, le=3)] = 0.8
    """Standard deviation of the logarithm of packet sizes."""
    discard_ms: Positive = 1000.0
    """Age at which packets are discarded, at the end of a step."""

    def __post_init__(self) -> None:
        """Raises: ValueError for more subbands than PRB groups."""
        require_order("network", self, "subbands", "prb_groups")


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class OwnNetwork:
    """A kind of network of the user's own."""

    kind: Annotated[str, PartOf("network")]
    """`MODULE:NAME` of a class or function f(scenario, seed, map_seed=...) that makes it."""
    settings: Mapping[str, Any] = Field(default_factory=dict[str, Any])
    """What it reads from the scenario."""

    def __hash__(self) -> int:
        return hash(repr(self))
