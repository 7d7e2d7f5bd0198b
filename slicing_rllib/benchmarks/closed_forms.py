"""Situations with a known answer, put to the simulator's own functions."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from scipy.optimize import bisect

from slicing_rllib.benchmarks.tolerance import Row, checked
from slicing_rllib.radio.antenna import SectorAntenna
from slicing_rllib.radio.interference import (
    LoadFixedPoint,
    RandomPlacement,
    Received,
    solve_load_fixed_point,
)
from slicing_rllib.radio.layout import hexagonal_cluster_m
from slicing_rllib.radio.link import LINKS
from slicing_rllib.radio.queueing import packet_delay_ms, served_share

SNR_SCALE = 1e12
"""Lifts every signal far above the noise where a form knows no noise."""
BANDWIDTH_HZ = 18e6


def rows() -> Iterator[Row]:
    """Every form with its answer."""
    yield from lattice_rows()
    yield checked("calibration.sir.hexagon_vertex", sir_db(_VERTEX), "dB", -3.85, 0.02, "lattice")
    yield checked("calibration.sir.edge_midpoint", sir_db(_MIDPOINT), "dB", -1.49, 0.02, "lattice")
    yield checked("calibration.geometry_ceiling", ceiling_db(), "dB", 22.0, 0.05, "closed form")
    yield checked("calibration.queue.one_ue", one_ue_delay_ms(), "ms", 0.8, 1e-9, "M/D/1-PS")
    yield checked(
        "calibration.load.two_cells",
        float(two_cells().utilisation[0, 0]),
        "1",
        two_cells_by_bisection(),
        1e-6,
        "bisection",
    )
    coverage = poisson_coverage(np.random.default_rng(np.random.SeedSequence(4)))
    yield checked("calibration.sir.poisson_coverage_0_db", coverage, "1", 0.5601, 0.01, "Andrews")


def lattice_rows() -> Iterator[Row]:
    """Sums of distance to a power over a hexagonal lattice; the whole of it from 150 rings."""
    for rings, exponent, expected in (
        (1, 4.0, 6.0),
        (2, 4.0, 7.0417),
        (3, 4.0, 7.3606),
        (150, 4.0, 7.71115),
        (150, 3.76, 8.13686),
    ):
        name = f"calibration.lattice_sum.exponent_{exponent:g}.rings_{rings}"
        value = lattice_sum(rings, exponent)
        yield checked(name, value, "1", expected, 1e-3 * expected, "lattice")


def lattice_sum(rings: int, exponent: float) -> float:
    """Interference at a site from all others, distances in units of the site distance."""
    distance = np.linalg.norm(np.array(hexagonal_cluster_m(rings, 1.0)), axis=1)
    return float((distance[1:] ** -exponent).sum())


_VERTEX = (0.5, 0.5 / np.sqrt(3))
_MIDPOINT = (0.5, 0.0)


def sir_db(place: tuple[float, float]) -> float:
    """SIR of a UE of the central site of a large lattice, exponent 4, everybody at full load."""
    sites = np.array(hexagonal_cluster_m(30, 1.0))
    distance = np.linalg.norm(sites - np.array(place), axis=1)
    return float(10 * np.log10(full_load_sir(distance[None] ** -4.0, np.array([0]))[0]))


def full_load_sir(
    gain: Float[np.ndarray, "ue cell"], serving: np.ndarray
) -> Float[np.ndarray, " ue"]:
    """SIR when every cell transmits on all its PRBs."""
    n_cells = gain.shape[1]
    snr = SNR_SCALE * gain
    signal = snr[np.arange(len(snr)), serving]
    users = np.bincount(serving, minlength=n_cells).astype(np.float64)[:, None]
    received = Received(serving, signal, snr, users)
    full = np.ones((n_cells, 1))
    meet = RandomPlacement(np.ones(n_cells, bool), 1, 0.0).interference(received, full)
    return signal / meet(full)


def ceiling_db() -> float:
    """Best geometry of a three-sector site alone: the back lobes of its other two sectors."""
    azimuths_deg = np.array([0.0, 120.0, 240.0])
    gain = 10 ** (SectorAntenna().gain_db(azimuths_deg, np.zeros(3), 0.0) / 10)
    return float(10 * np.log10(full_load_sir(gain[None], np.array([0]))[0]))


def one_ue_delay_ms() -> float:
    """12 kbit at 20 Mbit/s, a quarter loaded: 12 / 20 / 0.75."""
    served = served_share(np.array([[0.5]]), np.array([[0.125]]))
    delay_ms = packet_delay_ms(np.array([[12.0]]), np.array([[1 / 40]]), served, 100.0)
    return float(delay_ms[0, 0])


def two_cells() -> LoadFixedPoint:
    """Two cells, each with one UE at 9 dB SNR of both, each UE offering 8 Mbit/s."""
    received = Received(np.array([0, 1]), np.full(2, 8.0), np.full((2, 2), 8.0), np.ones((2, 1)))
    full = np.ones((2, 1))
    placement = RandomPlacement(np.ones(2, bool), 1, 0.0)
    return solve_load_fixed_point(
        received,
        placement.interference(received, full),
        full,
        np.array([8.0]),
        LINKS["shannon"],
        BANDWIDTH_HZ,
        np.zeros((2, 1)),
        1e-12,
    )


def two_cells_by_bisection() -> float:
    """The load at which 0.6 log2(1 + 8 / (1 + 8 rho)) carries 8 Mbit/s."""

    def excess(rho: float) -> float:
        return rho * 0.6 * np.log2(1 + 8 / (1 + 8 * rho)) - 8e6 / BANDWIDTH_HZ

    return float(np.asarray(bisect(excess, 0.0, 1.0, xtol=1e-12)))


def poisson_coverage(rng: np.random.Generator, networks: int = 20_000, cells: int = 400) -> float:
    """Share of places with SIR over 0 dB among randomly placed cells, Rayleigh fading, exponent 4.

    sqrt(1) / (1 + pi/4) = 0.5601. Source: Andrews, Baccelli & Ganti, IEEE Trans. Commun. 59(11).
    """
    # Squared distances of a planar Poisson process, in order, are one on the line.
    squared = np.cumsum(rng.standard_exponential((networks, cells)), axis=1)
    gain = rng.standard_exponential((networks, cells)) * squared**-2
    return float((full_load_sir(gain, np.zeros(networks, int)) > 1).mean())
