"""A slice: the UEs that it has in every cell, and what each of them sends."""

from dataclasses import dataclass

from slicing_rllib.radio.checks import FORBID_UNKNOWN, require_positive


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
