"""The simulator compared with values that were not produced by it.

In this order: path loss at single distances against published values; situations with a known
answer, computed with the simulator's own functions; CDFs of a static drop of UEs against those of
TR 36.873's phase-1 calibration; geometry on the small torus of `paper` against larger layouts of
the same sites; and the paper's results of its traffic-aware baseline.
"""

import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy.optimize import bisect

from slicing_rllib.benchmarks.rows import PERIOD_STEPS, Row, compare_with_expected, make_row
from slicing_rllib.benchmarks.static_drop import Drop, draw_static_drop
from slicing_rllib.env import SlicingEnv
from slicing_rllib.evaluation import rollout
from slicing_rllib.policies.baselines import make_policy
from slicing_rllib.radio import (
    ColumnAntenna,
    HexagonalCluster,
    HexagonalGrid,
    Scenario,
    make_scenario,
)
from slicing_rllib.radio.antenna import SectorAntenna
from slicing_rllib.radio.interference import ActiveUes, RandomPlacement, solve_load_fixed_point
from slicing_rllib.radio.kpis import packet_delay_ms, served_share
from slicing_rllib.radio.link import LINKS
from slicing_rllib.radio.propagation import RadioPath
from slicing_rllib.radio.sites import hexagonal_cluster_m
from slicing_rllib.registry import get_part
from slicing_rllib.storage import read_text
from slicing_rllib.storage.errors import ConfigError

Reference = dict[str, Float[np.ndarray, " percentile"]]
"""Columns of a reference file by name: `percentile`, and `QUANTITY_db_LABEL` for each array."""
TRAFFIC_SEEDS = range(10)
WINNER_C2, WINNER_B1, UMA_38901 = (
    get_part("propagation", name).path_loss for name in ("winner_c2", "winner_b1", "tr38901_uma")
)


def run(*, reference: Reference | None, on_message: Callable[[str], None]) -> Iterator[Row]:
    """Yields all comparisons; without the `reference` of TR 36.873's CDFs, all but theirs."""
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
    yield from compare_traffic(make_scenario("paper"), TRAFFIC_SEEDS)


PATH_LOSS_TOLERANCE_DB = 0.05
WINNER_M = np.array([100.0, 250.0, 500.0, 1000.0])
TR38901_M = np.array([10.0, 100.0, 1000.0, 5000.0])
"""Horizontal distances."""
C2 = {"bs_height_m": 25.0, "ue_height_m": 1.5, "carrier_hz": 2.6e9}
B1 = {"bs_height_m": 10.0, "ue_height_m": 1.5, "carrier_hz": 2.6e9}
UMA = {"bs_height_m": 25.0, "ue_height_m": 1.5, "carrier_hz": 5e9}


def compare_path_loss() -> Iterator[Row]:
    """Yields the loss of each model at each distance.

    Expected values: WINNER+ D5.3, and TR 38.901 as the test suite of the ns-3 simulator has it.
    """
    slant_m = np.hypot(TR38901_M, UMA["bs_height_m"] - UMA["ue_height_m"])
    for name, source, distances_m, losses_db, expected_db in (
        ("winner_c2_los", "WINNER+ D5.3", WINNER_M, WINNER_C2.los_db(RadioPath(WINNER_M, **C2)),
         (85.30, 95.65, 104.61, 116.65)),
        ("winner_c2_nlos", "WINNER+ D5.3", WINNER_M, WINNER_C2.nlos_db(RadioPath(WINNER_M, **C2)),
         (107.56, 121.79, 132.54, 143.30)),
        ("winner_b1_los", "WINNER+ D5.3", WINNER_M, WINNER_B1.los_db(RadioPath(WINNER_M, **B1)),
         (80.70, 93.30, 105.34, 117.38)),
        ("tr38901_uma_los", "ns-3", TR38901_M, UMA_38901.los_db(RadioPath(slant_m, **UMA)),
         (72.938, 86.2362, 109.7252, 137.6794)),
        ("tr38901_uma_nlos", "ns-3", TR38901_M, UMA_38901.nlos_db(RadioPath(slant_m, **UMA)),
         (82.5131, 106.1356, 144.7641, 172.0753)),
    ):  # fmt: skip
        for distance_m, loss_db, expected in zip(distances_m, losses_db, expected_db, strict=True):
            yield compare_with_expected(
                f"calibration.path_loss.{name}.{distance_m:.0f}_m", loss_db, "dB", expected,
                PATH_LOSS_TOLERANCE_DB, source,
            )  # fmt: skip


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


N_UES = 40_000
"""UEs of a drop."""
DROP_SEED = 36873
PERCENTILES = range(5, 100, 5)
REFERENCE_PERCENTILES = range(0, 101, 5)
GEOMETRY_TOLERANCE_DB = 0.5
COUPLING_TOLERANCE_DB = 1.0
COUPLING_TAIL_TOLERANCE_DB = 1.7
"""At the 5 % point, which depends on the few UEs deep inside buildings."""
ARRAYS = {1: "1_element", 10: "10_elements"}
"""Elements of the column antenna, and their label in file columns and row names."""
QUANTITIES = ("coupling_gain", "geometry")


def compare_drop_cdfs(scenario: Scenario, reference: Reference | None) -> Iterator[Row]:
    """Yields coupling gain and geometry of both antennas at every 5 % from 5 to 95.

    Without a reference, rows have no expected values.

    Raises: ValueError for a scenario without a column antenna.
    """
    for elements, label in ARRAYS.items():
        drop = make_drop(scenario, elements)
        for quantity, values_db in zip(QUANTITIES, drop, strict=True):
            for percentile, got_db in zip(
                PERCENTILES, np.percentile(values_db, PERCENTILES), strict=True
            ):
                name = f"calibration.tr36873.{quantity}.{label}.p{percentile:02d}"
                if reference is None:
                    yield make_row(name, float(got_db), "dB", ratio=math.nan)
                    continue
                expected_db = reference[f"{quantity}_db_{label}"][percentile // 5]
                tolerance_db = _get_tolerance_db(quantity, percentile)
                yield compare_with_expected(
                    name, got_db, "dB", expected_db, tolerance_db, "TR 36.873"
                )


def _get_tolerance_db(quantity: str, percentile: int) -> float:
    if quantity == "geometry":
        return GEOMETRY_TOLERANCE_DB
    return COUPLING_TAIL_TOLERANCE_DB if percentile == 5 else COUPLING_TOLERANCE_DB


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

    Raises: ConfigError, one line with the file and the column, for a file that cannot be used.
    """
    try:
        table = np.genfromtxt(
            io.StringIO(read_text(path)), delimiter=",", names=True, encoding="utf-8"
        )
    except (OSError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise ConfigError(
            f"reference {path}: expected a readable CSV file ({first_line})"
        ) from error
    columns = table.dtype.names or ()
    for name in ("percentile", *(f"{q}_db_{a}" for q in QUANTITIES for a in ARRAYS.values())):
        if name not in columns:
            raise ConfigError(f"reference {path}: expected a column {name!r}")
    if table["percentile"].tolist() != list(REFERENCE_PERCENTILES):
        raise ConfigError(f"reference {path}, column percentile: expected 0, 5 ... 100")
    return {name: np.asarray(table[name], np.float64) for name in columns}


def draw_cdfs(scenario: Scenario, reference: Reference) -> Figure:
    """Returns a figure of both CDFs, with the reference as points."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, 2)
    levels = np.arange(0.5, 100, 0.5)
    for elements, label in ARRAYS.items():
        drop = make_drop(scenario, elements)
        for axes, quantity, values_db in zip(panels, QUANTITIES, drop, strict=True):
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


GEOMETRY_SEED = 4
GEOMETRY_PERCENTILES = (5, 50, 95)


def compare_torus_geometry(scenario: Scenario) -> Iterator[Row]:
    """Yields percentiles of full-load geometry; the reference is a torus of 19 sites.

    The difference is the interference that a small torus leaves out: it keeps only the nearest
    image of each other site.

    Raises: ValueError for a network on another layout.
    """
    layout = scenario.layout
    if not isinstance(layout, HexagonalGrid):
        raise ConfigError(f"scenario {scenario.name!r}: expected a hexagonal grid")
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
    return draw_static_drop(scenario, N_UES, np.random.default_rng(GEOMETRY_SEED)).geometry_db


class Target(NamedTuple):
    """A result that the traffic of `paper` has to reproduce, as a mean over seeds."""

    policy: str
    metric: str
    """`satisfaction_mean`; `fail_rate_95`, the share of (cell, step) with satisfaction below 0.95;
    or `delay_max_ms`, the mean over (cell, step) of the largest per-slice delay."""
    expected: float
    tolerance: float


TARGETS = (
    Target("traffic_aware", "satisfaction_mean", 0.87, 0.02),
    Target("traffic_aware", "fail_rate_95", 0.25, 0.03),
    Target("traffic_aware", "delay_max_ms", 1.8, 0.2),
    Target("oracle", "fail_rate_95", 0.11, 0.03),
)
"""The first three are the paper's. The last one keeps the task hard but solvable."""


def compare_traffic(scenario: Scenario, seeds: Iterable[int]) -> Iterator[Row]:
    """Yields the result for each target."""
    seeds = tuple(seeds)
    policies = {target.policy for target in TARGETS}
    results = {policy: evaluate_policy(scenario, policy, seeds) for policy in policies}
    for target in TARGETS:
        yield compare_with_expected(
            f"calibration.traffic.{target.policy}.{target.metric}",
            results[target.policy][target.metric],
            "ms" if target.metric == "delay_max_ms" else "1",
            target.expected,
            target.tolerance,
            "paper" if target.policy == "traffic_aware" else "design",
        )


def evaluate_policy(
    scenario: Scenario, policy: str, seeds: Iterable[int], *, steps: int = PERIOD_STEPS
) -> Mapping[str, float]:
    """Each metric of `Target` for a named baseline on map 0, from `steps` steps of each seed."""
    per_seed = []
    for seed in seeds:
        env = SlicingEnv(scenario, map_seed=0, episode_steps=steps)
        baseline = make_policy(policy, scenario, np.random.default_rng(seed), map_seed=0)
        record = rollout(env, baseline, steps, seed)
        satisfaction, delay_ms = record.satisfaction, record.delay_max_ms
        per_seed.append((satisfaction.mean(), (satisfaction < 0.95).mean(), delay_ms.mean()))
    names = ("satisfaction_mean", "fail_rate_95", "delay_max_ms")
    return dict(zip(names, np.mean(per_seed, axis=0).tolist(), strict=True))
