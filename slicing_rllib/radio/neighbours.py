"""The neighbours of each cell: the cells that interfere most with its UEs.

A cell receives messages about the load of its neighbours.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.radio.area import Area
from slicing_rllib.radio.radio_spec import RadioSpec
from slicing_rllib.radio.sites import SiteSpec
from slicing_rllib.radio.strongest_cells import find_expected_strongest_cells

COUPLING_RESOLUTION_M = 25.0
"""Smallest distance between the map positions over which coupling is averaged."""


def list_all_neighbours(n_cells: int) -> Int[np.ndarray, "cell neighbour"]:
    """Every other cell as a neighbour, in the order of cell indices."""
    return np.array([[i for i in range(n_cells) if i != k] for k in range(n_cells)])


def select_neighbours(
    sites: tuple[SiteSpec, ...], area: Area, radio: RadioSpec, kept: int
) -> Int[np.ndarray, "cell neighbour"]:
    """The `kept` most strongly coupled cells of each cell, strongest first; -1 fills short rows."""
    coupling = compute_coupling(sites, area, radio)
    n_cells = sum(len(site.mast.azimuths_deg) for site in sites)
    # Rounded, so that cells with equal strength by symmetry come in the order of their indices.
    strength = coupling.strength.round(5)
    order = np.lexsort((coupling.interferer, -strength, coupling.serving))
    serving = coupling.serving[order]
    rank = np.arange(len(order)) - np.searchsorted(serving, serving)
    width = min(kept, n_cells - 1)
    neighbours = np.full((n_cells, width), -1)
    is_kept = rank < width
    neighbours[serving[is_kept], rank[is_kept]] = coupling.interferer[order][is_kept]
    return neighbours


class Coupling(NamedTuple):
    """How strongly cells interfere with the UEs of other cells, for pairs that do."""

    serving: Int[np.ndarray, " pair"]
    """Index of the serving cell."""
    interferer: Int[np.ndarray, " pair"]
    """Index of the interfering cell."""
    strength: Float[np.ndarray, " pair"]
    """Power of the interferer over that of the serving cell, mean over the area it serves."""


def compute_coupling(sites: tuple[SiteSpec, ...], area: Area, radio: RadioSpec) -> Coupling:
    """The coupling of all pairs of cells at full power.

    It follows from the geometry alone, without shadowing, so that neighbours do not depend on the
    seed.
    """
    resolution_m = max(COUPLING_RESOLUTION_M, radio.map_resolution_m)
    strongest = find_expected_strongest_cells(sites, area, radio, resolution_m)
    n_cells = sum(len(site.mast.azimuths_deg) for site in sites)
    serving = np.broadcast_to(strongest.cell[:, :1], strongest.cell.shape)
    interferes = (strongest.cell != serving) & (strongest.snr > 0)
    key = serving[interferes].astype(np.int64) * n_cells + strongest.cell[interferes]
    relative_power = (strongest.snr.astype(np.float64) / strongest.snr[:, :1])[interferes]
    pairs, pair = np.unique(key, return_inverse=True)
    positions_served = np.bincount(strongest.cell[:, 0], minlength=n_cells)
    strength = np.bincount(pair, relative_power) / positions_served[pairs // n_cells]
    return Coupling(pairs // n_cells, pairs % n_cells, strength)
