"""When cells come up in a running network."""

from pydantic.dataclasses import dataclass

from slicing_rllib.radio import Phase
from slicing_rllib.radio.settings import SETTINGS, Steps


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class Deployment:
    """A cell that joins a running network: off, then under the default action, then controlled.

    Steps are network steps since the last reset with a seed.
    """

    cell: str
    """Name of the cell."""
    off_until: Steps
    """First step at which the cell is on the air, under the default action."""
    default_action_until: Steps
    """First step at which the cell's own policy decides."""

    def __post_init__(self) -> None:
        """Raises: ValueError if the cell's policy decides before the cell is on the air."""
        if self.off_until > self.default_action_until:
            raise ValueError(
                f"deployment of {self.cell}: expected off_until <= default_action_until, "
                f"got {self.off_until} and {self.default_action_until}"
            )

    def phase_at(self, step: int) -> Phase:
        """Phase of the cell in a network step."""
        if step < self.off_until:
            return Phase.OFF
        return Phase.DEFAULT if step < self.default_action_until else Phase.CONTROLLED
