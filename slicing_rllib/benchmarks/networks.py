"""The networks of the growth curves, and the period of their traffic."""

from collections.abc import Iterator
from typing import NamedTuple

from slicing_rllib.radio import Scenario, SyntheticMask, make_hexagonal_scenario, make_scenario

SECTORS_PER_SITE = 3
PERIOD_STEPS = round(SyntheticMask().period_steps)
"""Steps of one period of the traffic mask."""


class NetworkSize(NamedTuple):
    """A grid of sites with three cells each."""

    n_rows: int
    n_columns: int

    @property
    def n_cells(self) -> int:
        return SECTORS_PER_SITE * self.n_rows * self.n_columns

    def make_scenario(self) -> Scenario:
        """Returns a network of this size with the traffic and radio settings of `paper`."""
        return make_hexagonal_scenario(self.n_rows, self.n_columns, like=make_scenario("paper"))


SIZES = tuple(NetworkSize(n, n) for n in (2, 4, 8, 16, 32))
"""12, 48, 192, 768 and 3,072 cells."""


def list_sizes(max_cells: int) -> Iterator[NetworkSize]:
    """Yields the sizes up to `max_cells` cells, the smallest first."""
    return (size for size in SIZES if size.n_cells <= max_cells)
