"""The map of a network as a picture, each cell in the colour of its satisfaction."""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

COLOURS = np.array([[0.45, 0.10, 0.25], [0.90, 0.55, 0.25], [0.98, 0.93, 0.65], [0.10, 0.55, 0.55]])
"""Dark red, orange, pale yellow and teal: distinct under colour blindness and in greyscale."""
LEVELS = np.array([0.0, 0.6, 0.95, 1.0])
"""Satisfaction at which each colour applies; colours between are interpolated."""
OFF = np.array([0.8, 0.8, 0.8])
"""Colour of cells that are off."""
BORDER = 0.75
"""Brightness factor of map positions at the border of a cell."""


def satisfaction_map(
    serving_cell: Int[np.ndarray, "y x"],
    satisfaction: Float[np.ndarray, " cell"],
    live: Bool[np.ndarray, " cell"],
) -> UInt8[np.ndarray, "y x 3"]:
    """An RGB picture, north at the top: positions in the colour of their cell's satisfaction."""
    channels: list[Float[np.ndarray, " cell"]] = [
        np.interp(satisfaction, LEVELS, channel) for channel in COLOURS.T
    ]
    colour = np.stack(channels, axis=1)
    colour[~live] = OFF
    picture = colour[serving_cell]
    right = serving_cell != np.roll(serving_cell, -1, axis=1)
    above = serving_cell != np.roll(serving_cell, -1, axis=0)
    picture[right | above] *= BORDER
    return (255.0 * picture[::-1]).astype(np.uint8)
