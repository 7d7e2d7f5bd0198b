"""Geometry on the small torus of the scenario `paper`, beside larger layouts of the same sites."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from slicing_rllib.benchmarks.rows import Row, make_row
from slicing_rllib.radio import HexagonalCluster, HexagonalGrid, Scenario
from slicing_rllib.radio.drop import draw_static_drop

N_UES = 40_000
"""UEs of a drop."""
DROP_SEED = 4
PERCENTILES = (5, 50, 95)


def compare_torus_geometry(scenario: Scenario) -> Iterator[Row]:
    """Yields percentiles of full-load geometry; the reference is a torus of 19 sites.

    The difference is the interference that a small torus leaves out: it keeps only the nearest
    image of each other site.

    Args:
        scenario: A network on a hexagonal grid.

    Raises: ValueError for a network on another layout.
    """
    layout = scenario.layout
    if not isinstance(layout, HexagonalGrid):
        raise ValueError(f"scenario {scenario.name!r}: expected a hexagonal grid")
    cluster = HexagonalCluster(
        rings=2,
        site_distance_m=layout.site_distance_m,
        mast=layout.mast,
        sla_groups=layout.sla_groups[:1],
    )
    small_db, large_db = (
        np.percentile(_draw_geometry_db(replace(scenario, layout=found)), PERCENTILES)
        for found in (layout, cluster)
    )
    for percentile, small, large in zip(PERCENTILES, small_db, large_db, strict=True):
        yield make_row(
            f"calibration.torus.geometry.p{percentile:02d}",
            float(small),
            "dB",
            reference="19_sites",
            ratio=float("nan"),
            reference_value=float(large),
        )


def _draw_geometry_db(scenario: Scenario) -> np.ndarray:
    return draw_static_drop(scenario, N_UES, np.random.default_rng(DROP_SEED)).geometry_db
