"""What a drill says when something did not go on as it should."""

from slicing_rllib.storage.errors import RunError


class DrillError(RunError):
    """A training did not recover from a fault. The message is one line."""
