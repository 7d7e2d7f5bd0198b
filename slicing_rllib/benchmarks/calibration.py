"""The simulator against numbers that nobody here wrote."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from slicing_rllib.benchmarks import closed_forms, traffic_fit
from slicing_rllib.benchmarks.tolerance import Row, checked
from slicing_rllib.radio import ColumnAntenna, Scenario, built_in
from slicing_rllib.radio.drop import Drop, static_drop
from slicing_rllib.radio.propagation import WINNER_B1, WINNER_C2
from slicing_rllib.radio.tr38901 import UMA_38901

N_UES = 40_000
"""UEs of a static drop."""
PERCENTILES = np.arange(5, 100, 5)
GEOMETRY_TOLERANCE_DB = 0.5
COUPLING_TOLERANCE_DB = 1.0
COUPLING_TAIL_TOLERANCE_DB = 1.7
"""At the 5 % point, where a few UEs deep inside buildings decide."""
TRAFFIC_SEEDS = range(10)
ARRAYS = {1: "1_element", 10: "10_elements"}

Reference = dict[str, Float[np.ndarray, " percentile"]]


def rows(
    *,
    reference_csv: Path | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Iterator[Row]:
    """Path loss, closed forms, 3GPP's CDFs (where their file is given), and the paper's traffic.

    Raises: ValueError, one line, for a reference file that cannot be used.
    """
    reference = None if reference_csv is None else read_reference(reference_csv)
    progress("path loss")
    yield from path_loss_rows()
    progress("closed forms")
    yield from closed_forms.rows()
    if reference is None:
        progress("TR 36.873 CDFs left out: no reference file given")
    else:
        progress("TR 36.873 CDFs")
        yield from cdf_rows(built_in("tr36873_uma"), reference)
    progress("traffic of the paper's network")
    yield from traffic_fit.target_rows(built_in("paper"), TRAFFIC_SEEDS)


def setup_rows(scenario: Scenario, reference_csv: Path | None) -> Iterator[Row]:
    """Both CDFs of another TR 36.873 setup, beside its reference where there is one.

    Raises: ValueError, one line, for a reference file or an antenna that cannot be used.
    """
    if reference_csv is not None:
        yield from cdf_rows(scenario, read_reference(reference_csv))
        return
    for elements, label in ARRAYS.items():
        for kind, values_db in _kinds(drop_of(scenario, elements)).items():
            for percentile in PERCENTILES:
                yield {
                    "name": f"calibration.tr36873.{kind}.{label}.p{percentile:02d}",
                    "value": float(np.percentile(values_db, percentile)),
                    "unit": "dB",
                    "reference": "",
                    "ratio": math.nan,
                }


def path_loss_rows() -> Iterator[Row]:
    """Loss at single distances; TR 38.901 against the values of the ns-3 test suite."""
    winner_m = np.array([100.0, 250.0, 500.0, 1000.0])
    tr38901_m = np.array([10.0, 100.0, 1000.0, 5000.0])
    c2 = {"bs_height_m": 25.0, "ue_height_m": 1.5, "carrier_hz": 2.6e9}
    b1 = {"bs_height_m": 10.0, "ue_height_m": 1.5, "carrier_hz": 2.6e9}
    uma = {"bs_height_m": 25.0, "ue_height_m": 1.5, "carrier_hz": 5e9}
    above_m = np.hypot(tr38901_m, 23.5)
    for name, distances_m, got_db, expected_db, source in (
        (
            "winner_c2_los",
            winner_m,
            WINNER_C2.los_db(winner_m, **c2),
            (85.30, 95.65, 104.61, 116.65),
            "WINNER+ D5.3",
        ),
        (
            "winner_c2_nlos",
            winner_m,
            WINNER_C2.nlos_db(winner_m, **c2),
            (107.56, 121.79, 132.54, 143.30),
            "WINNER+ D5.3",
        ),
        (
            "winner_b1_los",
            winner_m,
            WINNER_B1.los_db(winner_m, **b1),
            (80.70, 93.30, 105.34, 117.38),
            "WINNER+ D5.3",
        ),
        (
            "tr38901_uma_los",
            tr38901_m,
            UMA_38901.los_db(above_m, **uma),
            (72.938, 86.2362, 109.7252, 137.6794),
            "ns-3",
        ),
        (
            "tr38901_uma_nlos",
            tr38901_m,
            UMA_38901.nlos_db(above_m, **uma),
            (82.5131, 106.1356, 144.7641, 172.0753),
            "ns-3",
        ),
    ):
        for distance_m, got, expected in zip(distances_m, got_db, expected_db, strict=True):
            label = f"calibration.path_loss.{name}.{distance_m:.0f}_m"
            yield checked(label, got, "dB", expected, 0.05, source)


def cdf_rows(scenario: Scenario, reference: Reference) -> Iterator[Row]:
    """Coupling gain and geometry of a static drop, at every 5 % from 5 to 95."""
    for elements, label in ARRAYS.items():
        drop = drop_of(scenario, elements)
        for kind, values_db in _kinds(drop).items():
            expected_db = reference[f"{kind}_db_{label}"][PERCENTILES // 5]
            got_db = np.percentile(values_db, PERCENTILES)
            for percentile, got, expected in zip(PERCENTILES, got_db, expected_db, strict=True):
                yield checked(
                    f"calibration.tr36873.{kind}.{label}.p{percentile:02d}",
                    got,
                    "dB",
                    expected,
                    _tolerance_db(kind, int(percentile)),
                    "TR 36.873",
                )


def drop_of(scenario: Scenario, elements: int) -> Drop:
    """A drop in a scenario whose column antenna has that many elements; always the same one.

    Raises: ValueError for a scenario with another antenna.
    """
    antenna = scenario.radio.antenna
    if not isinstance(antenna, ColumnAntenna):
        raise ValueError(f"scenario {scenario.name!r}: expected a column antenna to calibrate")
    radio = replace(scenario.radio, antenna=replace(antenna, elements=elements))
    rng = np.random.default_rng(np.random.SeedSequence(36873))
    return static_drop(replace(scenario, radio=radio), N_UES, rng)


def read_reference(path: Path) -> Reference:
    """Columns of a reference file: a row per percentile 0, 5 ... 100.

    Raises: ValueError naming file and column of what is missing.
    """
    try:
        table = np.genfromtxt(path, delimiter=",", names=True, encoding="utf-8")
    except (OSError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise ValueError(
            f"reference {path}: expected a readable CSV file ({first_line})"
        ) from error
    columns = table.dtype.names or ()
    for name in ("percentile", *(f"{k}_db_{a}" for k in KINDS for a in ARRAYS.values())):
        if name not in columns:
            raise ValueError(f"reference {path}: expected a column {name!r}")
    if table["percentile"].tolist() != list(range(0, 101, 5)):
        raise ValueError(f"reference {path}, column percentile: expected 0, 5 ... 100")
    return {name: np.asarray(table[name], np.float64) for name in columns}


def draw(scenario: Scenario, reference: Reference, path: Path) -> None:
    """Writes a picture of both CDFs over the reference."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, 2)
    for elements, label in ARRAYS.items():
        for axes, (kind, values_db) in zip(
            panels, _kinds(drop_of(scenario, elements)).items(), strict=True
        ):
            levels = np.arange(0.5, 100, 0.5)
            (line,) = axes.plot(np.percentile(values_db, levels), levels, label=f"ours, {label}")
            axes.plot(
                reference[f"{kind}_db_{label}"],
                reference["percentile"],
                "o",
                color=line.get_color(),
                markersize=4,
                label=f"TR 36.873, {label}",
            )
            axes.set(xlabel=f"{kind.replace('_', ' ')}, dB", ylabel="share of UEs, %")
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path)


KINDS = ("coupling_gain", "geometry")


def _kinds(drop: Drop) -> dict[str, Float[np.ndarray, " ue"]]:
    return dict(zip(KINDS, drop, strict=True))


def _tolerance_db(kind: str, percentile: int) -> float:
    if kind == "geometry":
        return GEOMETRY_TOLERANCE_DB
    return COUPLING_TAIL_TOLERANCE_DB if percentile == 5 else COUPLING_TOLERANCE_DB
