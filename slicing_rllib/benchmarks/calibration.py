"""The simulator compared with values that were not produced by it.

Situations with a known answer, computed with the simulator's own functions.

Path loss at single distances, compared with published values.

CDFs of a static drop of UEs, compared with the curves of TR 36.873's phase-1 calibration.

Geometry on the small torus of the scenario `paper`, beside larger layouts of the same sites.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy.optimize import bisect

from slicing_rllib.benchmarks import traffic_fit
from slicing_rllib.benchmarks.rows import Row, compare_with_expected, make_row
from slicing_rllib.radio import (
    ColumnAntenna,
    HexagonalCluster,
    HexagonalGrid,
    Scenario,
    make_scenario,
)
from slicing_rllib.radio.antenna import SectorAntenna
from slicing_rllib.radio.drop import Drop, draw_static_drop
from slicing_rllib.radio.interference import ActiveUes, RandomPlacement, solve_load_fixed_point
from slicing_rllib.radio.kpis import packet_delay_ms, served_share
from slicing_rllib.radio.link import LINKS
from slicing_rllib.radio.propagation import UMA_38901, WINNER_B1, WINNER_C2
from slicing_rllib.radio.sites import hexagonal_cluster_m

SNR_SCALE = 1e12
"""Factor on all gains that makes noise negligible, because the closed forms have no noise."""
BANDWIDTH_HZ = 18e6
HEXAGON_VERTEX = (0.5, 0.5 / np.sqrt(3))
"""Point at equal distance to three sites, in units of the site distance."""
EDGE_MIDPOINT = (0.5, 0.0)
"""Point halfway between two sites."""


def compare_closed_forms() -> Iterator[Row]:
    """Yields each situation with its known answer."""
    yield from compare_lattice_sums()
    for name, value, unit, expected, tolerance, source in (
        ("sir.hexagon_vertex", sir_db(HEXAGON_VERTEX), "dB", -3.85, 0.02, "lattice"),
        ("sir.edge_midpoint", sir_db(EDGE_MIDPOINT), "dB", -1.49, 0.02, "lattice"),
        ("geometry_ceiling", max_geometry_db(), "dB", 22.0, 0.05, "closed form"),
        ("queue.one_ue", one_ue_delay_ms(), "ms", 0.8, 1e-9, "M/D/1-PS"),
        ("load.two_cells", two_cells_load(), "1", bisect_two_cells_load(), 1e-6, "bisection"),
    ):
        yield compare_with_expected(f"calibration.{name}", value, unit, expected, tolerance, source)
    coverage = poisson_coverage(np.random.default_rng(np.random.SeedSequence(4)))
    name = "calibration.sir.poisson_coverage_0_db"
    yield compare_with_expected(name, coverage, "1", 0.5601, 0.01, "Andrews")


def compare_lattice_sums() -> Iterator[Row]:
    """Yields lattice sums of single rings and, with 150 rings, of practically the whole lattice."""
    for rings, exponent, expected in (
        (1, 4.0, 6.0),
        (2, 4.0, 7.0417),
        (3, 4.0, 7.3606),
        (150, 4.0, 7.71115),
        (150, 3.76, 8.13686),
    ):
        name = f"calibration.lattice_sum.exponent_{exponent:g}.rings_{rings}"
        value = lattice_sum(rings, exponent)
        yield compare_with_expected(name, value, "1", expected, 1e-3 * expected, "lattice")


def lattice_sum(rings: int, exponent: float) -> float:
    """Sum of distance^-exponent from one site of a hexagonal lattice to all others.

    Distances are in units of the site distance. This is the interference at a site.
    """
    distance = np.linalg.norm(np.array(hexagonal_cluster_m(rings, 1.0)), axis=1)
    return float((distance[1:] ** -exponent).sum())


def sir_db(place: tuple[float, float]) -> float:
    """SIR at a place in the central cell of a large lattice: exponent 4, all cells at full load.

    `place` is in units of the site distance.
    """
    sites = np.array(hexagonal_cluster_m(30, 1.0))
    distance = np.linalg.norm(sites - np.array(place), axis=1)
    return float(10 * np.log10(full_load_sir(distance[None] ** -4.0, np.array([0]))[0]))


def full_load_sir(
    gain: Float[np.ndarray, "ue cell"], serving: np.ndarray
) -> Float[np.ndarray, " ue"]:
    """Linear SIR when every cell transmits on all its PRBs."""
    n_cells = gain.shape[1]
    snr = SNR_SCALE * gain
    signal = snr[np.arange(len(snr)), serving]
    users = np.bincount(serving, minlength=n_cells).astype(np.float64)[:, None]
    received = ActiveUes(serving, signal, snr, users)
    full = np.ones((n_cells, 1))
    interference = RandomPlacement(np.ones(n_cells, bool), 1, 0.0).interference(received, full)
    return signal / interference(full)


def max_geometry_db() -> float:
    """Largest geometry at a single three-sector site: only the other two sectors interfere."""
    azimuths_deg = np.array([0.0, 120.0, 240.0])
    gain = 10 ** (SectorAntenna().gain_db(azimuths_deg, np.zeros(3), 0.0) / 10)
    return float(10 * np.log10(full_load_sir(gain[None], np.array([0]))[0]))


def one_ue_delay_ms() -> float:
    """Delay of 12 kbit packets at 20 Mbit/s and a utilisation of 1/4: 12 / 20 / 0.75 ms."""
    served = served_share(np.array([[0.5]]), np.array([[0.125]]))
    delay_ms = packet_delay_ms(np.array([[12.0]]), np.array([[1 / 40]]), served, 100.0)
    return float(delay_ms[0, 0])


def two_cells_load() -> float:
    """Load of two cells, each with one UE that demands 8 Mbit/s and receives both at 9 dB SNR."""
    received = ActiveUes(np.array([0, 1]), np.full(2, 8.0), np.full((2, 2), 8.0), np.ones((2, 1)))
    full = np.ones((2, 1))
    placement = RandomPlacement(np.ones(2, bool), 1, 0.0)
    fixed_point = solve_load_fixed_point(
        received,
        placement.interference(received, full),
        full,
        np.array([8.0]),
        LINKS["shannon"],
        BANDWIDTH_HZ,
        np.zeros((2, 1)),
        1e-12,
    )
    return float(fixed_point.utilisation[0, 0])


def bisect_two_cells_load() -> float:
    """The load rho that solves rho 0.6 log2(1 + 8 / (1 + 8 rho)) W = 8 Mbit/s, W the bandwidth."""

    def excess(rho: float) -> float:
        return rho * 0.6 * np.log2(1 + 8 / (1 + 8 * rho)) - 8e6 / BANDWIDTH_HZ

    return float(np.asarray(bisect(excess, 0.0, 1.0, xtol=1e-12)))


def poisson_coverage(rng: np.random.Generator, networks: int = 20_000, cells: int = 400) -> float:
    """Share of places with an SIR over 0 dB if cells form a Poisson process.

    With Rayleigh fading and exponent 4 it is 1 / (1 + pi/4) = 0.5601. Source: Andrews, Baccelli &
    Ganti, IEEE Trans. Commun. 59(11), 2011.
    """
    # The ordered squared distances of a planar Poisson process are a Poisson process on the line.
    squared = np.cumsum(rng.standard_exponential((networks, cells)), axis=1)
    gain = rng.standard_exponential((networks, cells)) * squared**-2
    return float((full_load_sir(gain, np.zeros(networks, int)) > 1).mean())


TOLERANCE_DB = 0.05
WINNER_SOURCE = "WINNER+ D5.3"
NS3_SOURCE = "ns-3"
"""TR 38.901 as the test suite of the ns-3 simulator has it."""
WINNER_M = np.array([100.0, 250.0, 500.0, 1000.0])
TR38901_M = np.array([10.0, 100.0, 1000.0, 5000.0])
"""Horizontal distances."""
C2 = {"bs_height_m": 25.0, "ue_height_m": 1.5, "carrier_hz": 2.6e9}
B1 = {"bs_height_m": 10.0, "ue_height_m": 1.5, "carrier_hz": 2.6e9}
UMA = {"bs_height_m": 25.0, "ue_height_m": 1.5, "carrier_hz": 5e9}


class Curve(NamedTuple):
    """A path loss model at some distances."""

    name: str
    distance_m: Float[np.ndarray, " distance"]
    loss_db: Float[np.ndarray, " distance"]
    expected_db: tuple[float, ...]
    source: str


def compare_path_loss() -> Iterator[Row]:
    """Yields the loss of each model at each distance."""
    for curve in _compute_curves():
        for distance_m, loss_db, expected_db in zip(
            curve.distance_m, curve.loss_db, curve.expected_db, strict=True
        ):
            name = f"calibration.path_loss.{curve.name}.{distance_m:.0f}_m"
            yield compare_with_expected(
                name, loss_db, "dB", expected_db, TOLERANCE_DB, curve.source
            )


def _compute_curves() -> list[Curve]:
    slant_m = np.hypot(TR38901_M, UMA["bs_height_m"] - UMA["ue_height_m"])
    return [
        Curve(
            "winner_c2_los",
            WINNER_M,
            WINNER_C2.los_db(WINNER_M, **C2),
            (85.30, 95.65, 104.61, 116.65),
            WINNER_SOURCE,
        ),
        Curve(
            "winner_c2_nlos",
            WINNER_M,
            WINNER_C2.nlos_db(WINNER_M, **C2),
            (107.56, 121.79, 132.54, 143.30),
            WINNER_SOURCE,
        ),
        Curve(
            "winner_b1_los",
            WINNER_M,
            WINNER_B1.los_db(WINNER_M, **B1),
            (80.70, 93.30, 105.34, 117.38),
            WINNER_SOURCE,
        ),
        Curve(
            "tr38901_uma_los",
            TR38901_M,
            UMA_38901.los_db(slant_m, **UMA),
            (72.938, 86.2362, 109.7252, 137.6794),
            NS3_SOURCE,
        ),
        Curve(
            "tr38901_uma_nlos",
            TR38901_M,
            UMA_38901.nlos_db(slant_m, **UMA),
            (82.5131, 106.1356, 144.7641, 172.0753),
            NS3_SOURCE,
        ),
    ]


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


N_TORUS_UES = 40_000
"""UEs of a drop."""
GEOMETRY_SEED = 4
GEOMETRY_PERCENTILES = (5, 50, 95)


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
        np.percentile(_draw_geometry_db(replace(scenario, layout=found)), GEOMETRY_PERCENTILES)
        for found in (layout, cluster)
    )
    for percentile, small, large in zip(GEOMETRY_PERCENTILES, small_db, large_db, strict=True):
        yield make_row(
            f"calibration.torus.geometry.p{percentile:02d}",
            float(small),
            "dB",
            reference="19_sites",
            ratio=float("nan"),
            reference_value=float(large),
        )


def _draw_geometry_db(scenario: Scenario) -> np.ndarray:
    return draw_static_drop(scenario, N_TORUS_UES, np.random.default_rng(GEOMETRY_SEED)).geometry_db


TRAFFIC_SEEDS = range(10)


def run(*, reference: Reference | None, on_message: Callable[[str], None]) -> Iterator[Row]:
    """Yields path loss, closed forms, TR 36.873's CDFs, and the paper's torus and traffic.

    Args:
        reference: Columns of TR 36.873's CDFs; None leaves this part out.
        on_message: Receives one line of text before each part.
    """
    on_message("comparing path loss")
    yield from compare_path_loss()
    on_message("comparing closed forms")
    yield from compare_closed_forms()
    if reference is None:
        on_message("leaving out the CDFs of TR 36.873: no reference file given")
    else:
        on_message("comparing the CDFs of TR 36.873")
        yield from compare_drop_cdfs(make_scenario("tr36873_uma"), reference)
    on_message("comparing the geometry of the paper's torus with that of 19 sites")
    yield from compare_torus_geometry(make_scenario("paper"))
    on_message("comparing the traffic of the paper's network")
    yield from traffic_fit.compare_with_targets(make_scenario("paper"), TRAFFIC_SEEDS)
