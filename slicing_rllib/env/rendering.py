"""The map of the network, each place in the colour of how well its cell serves."""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

COLOURS = np.array([[0.45, 0.10, 0.25], [0.90, 0.55, 0.25], [0.98, 0.93, 0.65], [0.10, 0.55, 0.55]])
"""Dark red, orange, pale, teal: told apart with any colour vision, and in grey."""
LEVELS = np.array([0.0, 0.6, 0.95, 1.0])
"""Satisfaction of each colour: pale to teal is the last step, from 0.95 to fully served."""
OFF = np.array([0.8, 0.8, 0.8])
BORDER = 0.75
"""Brightness of a place where another cell begins."""


def satisfaction_map(
    serving_cell: Int[np.ndarray, "y x"],
    satisfaction: Float[np.ndarray, " cell"],
    live: Bool[np.ndarray, " cell"],
) -> UInt8[np.ndarray, "y x 3"]:
    """Red-green-blue picture, north up; cells that are off are grey."""
    colour = np.stack([np.interp(satisfaction, LEVELS, channel) for channel in COLOURS.T], axis=1)
    colour[~live] = OFF
    picture = colour[serving_cell]
    picture[_is_border(serving_cell)] *= BORDER
    return (255.0 * picture[::-1]).astype(np.uint8)


def _is_border(serving_cell: Int[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    right = serving_cell != np.roll(serving_cell, -1, axis=1)
    above = serving_cell != np.roll(serving_cell, -1, axis=0)
    return right | above
