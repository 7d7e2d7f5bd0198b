"""Who is coupled with whom: the graph along which cells tell each other their load."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.radio.scenario import Scenario
from slicing_rllib.radio.strongest_cells import expected_strongest_cells

COARSE_M = 25.0
"""Map resolution that tells neighbours apart."""


def neighbours_of(scenario: Scenario) -> Int[np.ndarray, "cell neighbour"]:
    """Per cell the neighbours that the scenario asks for, strongest first; -1 pads."""
    n_cells = len(scenario.cells)
    if scenario.neighbours_kept == "none":
        return np.zeros((n_cells, 0), np.int64)
    if scenario.neighbours_kept == "all":
        return np.array([[i for i in range(n_cells) if i != k] for k in range(n_cells)])
    coupled = coupling(scenario)
    # Rounded, so that cells which symmetry makes equal come in the order of their numbers.
    strength = coupled.strength.round(5)
    order = np.lexsort((coupled.other, -strength, coupled.serving))
    serving = coupled.serving[order]
    rank = np.arange(len(order)) - np.searchsorted(serving, serving)
    kept = min(scenario.neighbours_kept, n_cells - 1)
    chosen = np.full((n_cells, kept), -1)
    near = rank < kept
    chosen[serving[near], rank[near]] = coupled.other[order][near]
    return chosen


class Coupled(NamedTuple):
    """How strongly a cell's UEs hear another cell."""

    serving: Int[np.ndarray, " pair"]
    other: Int[np.ndarray, " pair"]
    strength: Float[np.ndarray, " pair"]


def coupling(scenario: Scenario) -> Coupled:
    """Mean over the places that a cell serves of another's power over its own.

    From geometry alone, without shadowing: neighbours don't change with the seed.
    """
    resolution_m = max(COARSE_M, scenario.radio.map_resolution_m)
    heard = expected_strongest_cells(scenario.sites, scenario.ground, scenario.radio, resolution_m)
    n_cells = len(scenario.cells)
    serving = np.broadcast_to(heard.cell[:, :1], heard.cell.shape)
    foreign = (heard.cell != serving) & (heard.snr > 0)
    key = serving[foreign].astype(np.int64) * n_cells + heard.cell[foreign]
    relative = (heard.snr.astype(np.float64) / heard.snr[:, :1])[foreign]
    pairs, number = np.unique(key, return_inverse=True)
    places = np.bincount(heard.cell[:, 0], minlength=n_cells)
    strength = np.bincount(number, relative) / places[pairs // n_cells]
    return Coupled(pairs // n_cells, pairs % n_cells, strength)
