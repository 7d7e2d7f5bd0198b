"""The UEs of a network: their positions, movement, serving cells and building losses."""

import numpy as np
from jaxtyping import Float, Int, UInt64

from slicing_rllib.radio.area import Area
from slicing_rllib.radio.random_streams import (
    Stream,
    derive_cell_keys,
    derive_ue_keys,
    draw_uniforms,
)
from slicing_rllib.radio.reception import UNATTACHED
from slicing_rllib.radio.scenario import Scenario
from slicing_rllib.radio.ue_spec import IndoorSpec, MobilitySpec

Vectors = Float[np.ndarray, "2 ue"]
BELOW_ONE = 1.0 - 2.0**-40
"""Scales coordinates so that one that rounding made 1 still lies on the map."""


class Users:
    """All UEs of a network, active or not, ordered by the cell whose random stream moves them.

    A UE always belongs to the same slice and moves over the whole area; `serving` is the cell that
    it is attached to. Each UE of a slice has a quantile in (0, 1). At a mask value of m, the UEs
    with a quantile of at most m are active, so that the mask activates and deactivates UEs without
    moving them.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        slices = [spec.users for spec in scenario.slices]
        n_cells = len(scenario.cells)
        ues_per_cell = sum(slices)
        quantiles = np.concatenate([(np.arange(users) + 0.5) / users for users in slices])
        self.slice_index = np.tile(np.repeat(np.arange(len(slices)), slices), n_cells)
        self.quantile = np.tile(quantiles, n_cells)
        self._area = scenario.area
        self._mobility = scenario.mobility
        self._leg_m = leg_lengths_m(scenario.mobility, scenario.step_s)
        keys = derive_cell_keys(seed, Stream.MOVEMENT, n_cells)
        self._keys = derive_ue_keys(keys, ues_per_cell)
        self.location: Vectors = np.stack(
            [draw_uniforms(self._keys, draw).ravel() for draw in (0, 1)]
        )
        """In fractional coordinates of the area."""
        self.velocity: Vectors = self._draw_legs(0)
        """In fractional coordinates per step."""
        self._next_legs = 0, self.velocity
        self.serving: Int[np.ndarray, " ue"] = np.full(n_cells * ues_per_cell, UNATTACHED)
        wall_keys = derive_ue_keys(derive_cell_keys(seed, Stream.WALLS, n_cells), ues_per_cell)
        self.wall_gain = draw_wall_gain(scenario.indoor, wall_keys)

    def move(self, step: int) -> None:
        """Moves all UEs by one step; one in `leg_steps` of them first starts a new leg."""
        leg_steps = self._mobility.leg_steps
        number = 1 + step // leg_steps
        if self._next_legs[0] != number:
            self._next_legs = number, self._draw_legs(number)
        turning = slice(step % leg_steps, None, leg_steps)
        self.velocity[:, turning] = self._next_legs[1][:, turning]
        self.location += self.velocity
        self.location -= np.floor(self.location)

    def positions(self, shape: tuple[int, int]) -> Int[np.ndarray, " ue"]:
        """Index of each UE's position on a map with that shape.

        Between walls, coordinates above one half are on the way back from the far wall.
        """
        location = self.location if self._area.wraps else 1.0 - np.abs(1.0 - 2.0 * self.location)
        rows = (location[0] * (shape[0] * BELOW_ONE)).astype(np.int64)
        rows *= shape[1]
        rows += (location[1] * (shape[1] * BELOW_ONE)).astype(np.int64)
        return rows

    def _draw_legs(self, number: int) -> Vectors:
        """Velocity of all UEs on the leg with that number, in fractional coordinates per step."""
        heading_rad = 2 * np.pi * draw_uniforms(self._keys, 2 + 2 * number)
        shortest_m, longest_m = self._leg_m
        length_m = shortest_m + (longest_m - shortest_m) * draw_uniforms(self._keys, 3 + 2 * number)
        metres = np.stack([length_m * np.cos(heading_rad), length_m * np.sin(heading_rad)])
        return metres_to_fractions(self._area) @ metres.reshape(2, -1)


def leg_lengths_m(mobility: MobilitySpec, step_s: float) -> tuple[float, float]:
    """Distance that the slowest and the fastest UE move in one step."""
    return mobility.min_speed_kmh / 3.6 * step_s, mobility.max_speed_kmh / 3.6 * step_s


def metres_to_fractions(area: Area) -> Float[np.ndarray, "2 2"]:
    """Matrix from a displacement in metres to fractional coordinates.

    Between walls, one unit is twice the rectangle: to the far wall and back.
    """
    edges_m = np.array(area.edges_m) * (1.0 if area.wraps else 2.0)
    return np.linalg.inv(edges_m).T


def draw_wall_gain(
    spec: IndoorSpec, keys: UInt64[np.ndarray, "cell ue_of_cell"]
) -> Float[np.ndarray, " ue"] | None:
    """Linear gain (at most 1) of the building around each UE; None if all UEs are outdoors.

    A UE keeps its building loss while it moves. Indoor UEs are on the ground floor, because the map
    is that of street level.
    """
    if spec.share == 0:
        return None
    depth_m = spec.max_depth_m * draw_uniforms(keys, 1).ravel()
    loss_db = spec.wall_db + spec.inside_db_per_m * depth_m
    return np.where(draw_uniforms(keys, 0).ravel() < spec.share, 10 ** (-loss_db / 10), 1.0)
