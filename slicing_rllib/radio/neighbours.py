"""Who is coupled with whom: the graph along which cells tell each other their load."""

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.radio.gain_map import expected_snr
from slicing_rllib.radio.scenario import Scenario

COARSE_M = 25.0
"""Map resolution that tells neighbours apart."""


def neighbours_of(scenario: Scenario) -> Int[np.ndarray, "cell neighbour"]:
    """Per cell the neighbours that the scenario asks for, strongest first; -1 pads."""
    n_cells = len(scenario.cells)
    if scenario.neighbours_kept == "none":
        return np.zeros((n_cells, 0), np.int64)
    if scenario.neighbours_kept == "all":
        return np.array([[i for i in range(n_cells) if i != k] for k in range(n_cells)])
    kept = min(scenario.neighbours_kept, n_cells - 1)
    strength = coupling(scenario)
    order = np.argsort(-strength, axis=1, kind="stable")[:, :kept]
    return np.where(np.take_along_axis(strength, order, axis=1) > 0, order, -1)


def coupling(scenario: Scenario) -> Float[np.ndarray, "cell neighbour"]:
    """Mean over the places that a cell serves of a neighbour's power over its own.

    From geometry alone, without shadowing: neighbours don't change with the seed.
    """
    shape = scenario.ground.grid_shape(max(COARSE_M, scenario.radio.map_resolution_m))
    snr = expected_snr(scenario.sites, scenario.ground, scenario.radio, shape)
    serving = snr.argmax(axis=1)
    relative = snr / snr.max(axis=1, keepdims=True)
    sums = np.zeros((snr.shape[1], snr.shape[1]))
    np.add.at(sums, serving, relative)
    places = np.bincount(serving, minlength=len(sums))
    strength = sums / np.maximum(places, 1)[:, None]
    np.fill_diagonal(strength, 0.0)
    return strength
