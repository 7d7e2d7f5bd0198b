"""Situations with a known answer, computed with the simulator's own functions."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from scipy.optimize import bisect

from slicing_rllib.benchmarks.rows import Row, compare_with_expected
from slicing_rllib.radio.antenna import SectorAntenna
from slicing_rllib.radio.interference import (
    ActiveUes,
    RandomPlacement,
    solve_load_fixed_point,
)
from slicing_rllib.radio.layout import hexagonal_cluster_m
from slicing_rllib.radio.link import LINKS
from slicing_rllib.radio.queueing import packet_delay_ms, served_share

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
