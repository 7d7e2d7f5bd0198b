"""The result of one check of a cluster."""

from typing import NamedTuple


class Check(NamedTuple):
    """The result of one check."""

    name: str
    ok: bool
    found: str
    """What was found; if the check failed, also what was expected."""
