"""The deployment of a new cell: off, then live under the default action, then controlled."""

from dataclasses import dataclass

from slicing_rllib.radio import Phase
from slicing_rllib.radio.checks import FORBID_UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A cell that joins a running network.

    Steps are network steps since the last reset with a seed.
    Raises: ValueError unless 0 <= off_until <= default_action_until.
    """

    __pydantic_config__ = FORBID_UNKNOWN

    cell: str
    """Name of the cell."""
    off_until: int
    """First step at which the cell is on the air, under the default action."""
    default_action_until: int
    """First step at which the cell's own policy decides."""

    def __post_init__(self) -> None:
        if not 0 <= self.off_until <= self.default_action_until:
            raise ValueError(
                f"deployment of {self.cell}: expected 0 <= off_until <= default_action_until, "
                f"got {self.off_until} and {self.default_action_until}"
            )

    def phase_at(self, step: int) -> Phase:
        """Phase of the cell in a network step."""
        if step < self.off_until:
            return Phase.OFF
        return Phase.DEFAULT if step < self.default_action_until else Phase.CONTROLLED
