"""Settings of the UEs: how they move, and how many of them are indoors."""

from dataclasses import dataclass

from slicing_rllib.radio.checks import FORBID_UNKNOWN, require_positive


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
