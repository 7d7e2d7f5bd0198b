"""UEs on the map: where they are, where they go, and which cell serves them."""

import numpy as np
from jaxtyping import Float, Int, UInt64

from slicing_rllib.radio.layout import Layout
from slicing_rllib.radio.random_streams import Stream, cell_keys, member_keys, uniforms
from slicing_rllib.radio.reception import UNATTACHED
from slicing_rllib.radio.scenario import IndoorSpec, MobilitySpec, Scenario

Places = Float[np.ndarray, "2 ue"]
BELOW_ONE = 1.0 - 2.0**-40
"""Keeps a coordinate that rounding wrapped to 1 on the map."""


class Users:
    """All UEs of a network, active or not, ordered by the cell whose stream moves them.

    A UE belongs to a slice for good and moves over the whole map; `serving` is whoever it is
    attached to. A slice's UEs are ranked: at a mask value of m, those of quantile up to m are
    active, so that a mask switches UEs on and off where they stand.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        slices = [spec.users for spec in scenario.slices]
        n_cells = len(scenario.cells)
        members = sum(slices)
        ranks = np.concatenate([(np.arange(users) + 0.5) / users for users in slices])
        self.slice_index = np.tile(np.repeat(np.arange(len(slices)), slices), n_cells)
        self.quantile = np.tile(ranks, n_cells)
        self._ground = scenario.ground
        self._mobility = scenario.mobility
        self._leg_m = leg_lengths_m(scenario.mobility, scenario.step_s)
        keys = cell_keys(seed, Stream.MOVEMENT, n_cells)
        self._keys = member_keys(keys, members)
        self.place: Places = np.stack([uniforms(self._keys, draw).ravel() for draw in (0, 1)])
        self.velocity: Places = self._legs(0)
        self._next_legs = 0, self.velocity
        self.serving: Int[np.ndarray, " ue"] = np.full(n_cells * members, UNATTACHED)
        doors = member_keys(cell_keys(seed, Stream.WALLS, n_cells), members)
        self.wall_gain = wall_gain(scenario.indoor, doors)

    def move(self, step: int) -> None:
        """One step along everyone's leg; a UE in leg_steps begins a new one."""
        legs = self._mobility.leg_steps
        number = 1 + step // legs
        if self._next_legs[0] != number:
            self._next_legs = number, self._legs(number)
        turning = slice(step % legs, None, legs)
        self.velocity[:, turning] = self._next_legs[1][:, turning]
        self.place += self.velocity
        self.place -= np.floor(self.place)

    def positions(self, shape: tuple[int, int]) -> Int[np.ndarray, " ue"]:
        """Index of each UE's map position; between walls, places beyond one half are mirrored."""
        place = self.place if self._ground.wraps else 1.0 - np.abs(1.0 - 2.0 * self.place)
        rows = (place[0] * (shape[0] * BELOW_ONE)).astype(np.int64)
        rows *= shape[1]
        rows += (place[1] * (shape[1] * BELOW_ONE)).astype(np.int64)
        return rows

    def _legs(self, number: int) -> Places:
        """Everyone's velocity on the leg of that number, in fractions of the map per step."""
        heading_rad = 2 * np.pi * uniforms(self._keys, 2 + 2 * number)
        shortest_m, longest_m = self._leg_m
        length_m = shortest_m + (longest_m - shortest_m) * uniforms(self._keys, 3 + 2 * number)
        metres = np.stack([length_m * np.cos(heading_rad), length_m * np.sin(heading_rad)])
        return step_to_fractions(self._ground) @ metres.reshape(2, -1)


def leg_lengths_m(mobility: MobilitySpec, step_s: float) -> tuple[float, float]:
    """Metres per step of the slowest and the fastest UE."""
    return mobility.min_speed_kmh / 3.6 * step_s, mobility.max_speed_kmh / 3.6 * step_s


def step_to_fractions(ground: Layout) -> Float[np.ndarray, "2 2"]:
    """Matrix that turns metres into fractions of what places wrap around in.

    Between walls that is twice the rectangle: the way there and the way back.
    """
    edges_m = np.array(ground.edges_m) * (1.0 if ground.wraps else 2.0)
    return np.linalg.inv(edges_m).T


def wall_gain(
    spec: IndoorSpec, keys: UInt64[np.ndarray, "cell member"]
) -> Float[np.ndarray, " ue"] | None:
    """Gain, linear, of the walls around each UE, which it takes along; None if all are outdoors.

    The map is that of street level, so indoor UEs are on the ground floor here.
    """
    if spec.share == 0:
        return None
    depth_m = spec.max_depth_m * uniforms(keys, 1).ravel()
    loss_db = spec.wall_db + spec.inside_db_per_m * depth_m
    return np.where(uniforms(keys, 0).ravel() < spec.share, 10 ** (-loss_db / 10), 1.0)
