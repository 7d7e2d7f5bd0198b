"""CDFs of a static drop of UEs, compared with the curves of TR 36.873's phase-1 calibration."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from slicing_rllib.benchmarks.rows import Row, compare_with_expected, make_row
from slicing_rllib.radio import ColumnAntenna, Scenario
from slicing_rllib.radio.drop import Drop, draw_static_drop

N_UES = 40_000
"""UEs of a drop."""
DROP_SEED = 36873
PERCENTILES = np.arange(5, 100, 5)
REFERENCE_PERCENTILES = range(0, 101, 5)
GEOMETRY_TOLERANCE_DB = 0.5
COUPLING_TOLERANCE_DB = 1.0
COUPLING_TAIL_TOLERANCE_DB = 1.7
"""At the 5 % point, which depends on the few UEs deep inside buildings."""
ARRAYS = {1: "1_element", 10: "10_elements"}
"""Elements of the column antenna, and their label in file columns and row names."""
QUANTITIES = ("coupling_gain", "geometry")

Reference = dict[str, Float[np.ndarray, " percentile"]]
"""Columns of a reference file by name: `percentile`, and `QUANTITY_db_LABEL` for each array."""


def compare_drop_cdfs(scenario: Scenario, reference: Reference) -> Iterator[Row]:
    """Yields coupling gain and geometry of both antennas at every 5 % from 5 to 95.

    Raises: ValueError for a scenario without a column antenna.
    """
    for elements, label in ARRAYS.items():
        for quantity, values_db in _split_by_quantity(make_drop(scenario, elements)).items():
            expected_db = reference[f"{quantity}_db_{label}"][PERCENTILES // 5]
            got_db = np.percentile(values_db, PERCENTILES)
            for percentile, got, expected in zip(PERCENTILES, got_db, expected_db, strict=True):
                name = _make_row_name(quantity, label, int(percentile))
                tolerance_db = _get_tolerance_db(quantity, int(percentile))
                yield compare_with_expected(name, got, "dB", expected, tolerance_db, "TR 36.873")


def measure_drop_cdfs(scenario: Scenario) -> Iterator[Row]:
    """Yields the same values without a reference.

    Raises: ValueError for a scenario without a column antenna.
    """
    for elements, label in ARRAYS.items():
        for quantity, values_db in _split_by_quantity(make_drop(scenario, elements)).items():
            for percentile in PERCENTILES:
                name = _make_row_name(quantity, label, int(percentile))
                value_db = float(np.percentile(values_db, percentile))
                yield make_row(name, value_db, "dB", ratio=math.nan)


def make_drop(scenario: Scenario, elements: int) -> Drop:
    """Returns the drop of a scenario whose column antenna has `elements` elements.

    The same arguments always give the same drop.

    Raises: ValueError for a scenario without a column antenna.
    """
    antenna = scenario.radio.antenna
    if not isinstance(antenna, ColumnAntenna):
        raise ValueError(f"scenario {scenario.name!r}: expected a column antenna to calibrate")
    radio = replace(scenario.radio, antenna=replace(antenna, elements=elements))
    rng = np.random.default_rng(np.random.SeedSequence(DROP_SEED))
    return draw_static_drop(replace(scenario, radio=radio), N_UES, rng)


def read_reference(path: Path) -> Reference:
    """Returns the columns of a reference file, which has one row per percentile 0, 5 ... 100.

    Raises: ValueError, one line with the file and the column, for a file that cannot be used.
    """
    try:
        table = np.genfromtxt(path, delimiter=",", names=True, encoding="utf-8")
    except (OSError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise ValueError(
            f"reference {path}: expected a readable CSV file ({first_line})"
        ) from error
    columns = table.dtype.names or ()
    for name in ("percentile", *(f"{q}_db_{a}" for q in QUANTITIES for a in ARRAYS.values())):
        if name not in columns:
            raise ValueError(f"reference {path}: expected a column {name!r}")
    if table["percentile"].tolist() != list(REFERENCE_PERCENTILES):
        raise ValueError(f"reference {path}, column percentile: expected 0, 5 ... 100")
    return {name: np.asarray(table[name], np.float64) for name in columns}


def draw_cdfs(scenario: Scenario, reference: Reference) -> Figure:
    """Returns a figure of both CDFs, with the reference as points."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, 2)
    levels = np.arange(0.5, 100, 0.5)
    for elements, label in ARRAYS.items():
        drop = _split_by_quantity(make_drop(scenario, elements))
        for axes, (quantity, values_db) in zip(panels, drop.items(), strict=True):
            (line,) = axes.plot(
                np.percentile(values_db, levels), levels, label=f"simulator, {label}"
            )
            axes.plot(
                reference[f"{quantity}_db_{label}"],
                reference["percentile"],
                "o",
                color=line.get_color(),
                markersize=4,
                label=f"TR 36.873, {label}",
            )
            axes.set(xlabel=f"{quantity.replace('_', ' ')}, dB", ylabel="share of UEs, %")
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def _split_by_quantity(drop: Drop) -> dict[str, Float[np.ndarray, " ue"]]:
    return dict(zip(QUANTITIES, drop, strict=True))


def _make_row_name(quantity: str, array_label: str, percentile: int) -> str:
    return f"calibration.tr36873.{quantity}.{array_label}.p{percentile:02d}"


def _get_tolerance_db(quantity: str, percentile: int) -> float:
    if quantity == "geometry":
        return GEOMETRY_TOLERANCE_DB
    return COUPLING_TAIL_TOLERANCE_DB if percentile == 5 else COUPLING_TOLERANCE_DB
