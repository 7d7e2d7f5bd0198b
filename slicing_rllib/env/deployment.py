"""When a cell comes up: off, then live under the default action, then under its own policy."""

from dataclasses import dataclass

from slicing_rllib.radio import Phase


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A cell that joins a running network. Steps are network steps since the seeded reset.

    Raises: ValueError for steps that are negative or out of order.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    cell: str
    off_until: int
    """First step at which the cell is on the air."""
    default_action_until: int
    """First step that its own policy decides."""

    def __post_init__(self) -> None:
        if not 0 <= self.off_until <= self.default_action_until:
            raise ValueError(
                f"deployment of {self.cell}: expected 0 <= off_until <= default_action_until, "
                f"got {self.off_until} and {self.default_action_until}"
            )

    def phase_at(self, step: int) -> Phase:
        """What governs the cell at a network step."""
        if step < self.off_until:
            return Phase.OFF
        return Phase.DEFAULT if step < self.default_action_until else Phase.CONTROLLED
