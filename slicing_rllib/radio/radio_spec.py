"""Settings of the carrier, the propagation and the receivers."""

from dataclasses import dataclass, field
from typing import Literal

from slicing_rllib.radio.antenna import ColumnAntenna, SectorAntenna
from slicing_rllib.radio.checks import FORBID_UNKNOWN, require_positive
from slicing_rllib.radio.environment import ENVIRONMENTS


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
