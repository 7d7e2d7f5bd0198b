"""UEs on the map: where they are, where they go, and which cell serves them."""

import numpy as np
from jaxtyping import Bool, Float, Int

from slicing_rllib.radio.layout import Layout
from slicing_rllib.radio.scenario import MobilitySpec, Scenario
from slicing_rllib.radio.streams import Stream, cell_keys, member_keys, uniforms

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
        self.velocity: Places = self._legs(self._keys, 0).reshape(2, -1)
        self.serving: Int[np.ndarray, " ue"] = np.full(n_cells * members, -1)

    def move(self, step: int) -> None:
        """One step along everyone's leg; a UE in leg_steps begins a new one."""
        legs = self._mobility.leg_steps
        cohort = step % legs
        turning = self._keys[:, cohort::legs]
        if turning.size:
            velocity = self.velocity.reshape(2, *self._keys.shape)
            velocity[:, :, cohort::legs] = self._legs(turning, 1 + step // legs)
        self.place += self.velocity
        self.place -= np.floor(self.place)

    def positions(self, shape: tuple[int, int]) -> Int[np.ndarray, " ue"]:
        """Index of each UE's map position; between walls, places beyond one half are mirrored."""
        place = self.place if self._ground.wraps else 1.0 - np.abs(1.0 - 2.0 * self.place)
        rows = (place[0] * (shape[0] * BELOW_ONE)).astype(np.int64)
        rows *= shape[1]
        rows += (place[1] * (shape[1] * BELOW_ONE)).astype(np.int64)
        return rows

    def _legs(self, keys: np.ndarray, leg: int) -> Float[np.ndarray, "2 cell member"]:
        """Velocities, fractions of the map per step, of everyone's leg of that number."""
        heading_rad = 2 * np.pi * uniforms(keys, 2 + 2 * leg)
        shortest_m, longest_m = self._leg_m
        length_m = shortest_m + (longest_m - shortest_m) * uniforms(keys, 3 + 2 * leg)
        metres = np.stack([length_m * np.cos(heading_rad), length_m * np.sin(heading_rad)])
        return np.tensordot(step_to_fractions(self._ground), metres, axes=1)


def leg_lengths_m(mobility: MobilitySpec, step_s: float) -> tuple[float, float]:
    """Metres per step of the slowest and the fastest UE."""
    return mobility.min_speed_kmh / 3.6 * step_s, mobility.max_speed_kmh / 3.6 * step_s


def step_to_fractions(ground: Layout) -> Float[np.ndarray, "2 2"]:
    """Matrix that turns metres into fractions of what places wrap around in.

    Between walls that is twice the rectangle: the way there and the way back.
    """
    edges_m = np.array(ground.edges_m) * (1.0 if ground.wraps else 2.0)
    return np.linalg.inv(edges_m).T


class Attachment:
    """Which cell each place would choose, and who stays where they are all the same."""

    def __init__(self, snr: Float[np.ndarray, "position cell"], hysteresis_db: float) -> None:
        self._snr = snr
        self._hysteresis = 10 ** (hysteresis_db / 10)
        self._on: Bool[np.ndarray, " cell"] = np.zeros(0, bool)
        self.best_cell: Int[np.ndarray, " position"] = np.zeros(0, np.int64)
        self._best_snr: Float[np.ndarray, " position"] = np.zeros(0)

    def switch(self, on: Bool[np.ndarray, " cell"]) -> None:
        """Takes note of which cells are on the air."""
        if np.array_equal(on, self._on):
            return
        self._on = on.copy()
        heard = np.where(on, self._snr, 0.0)
        self.best_cell = heard.argmax(axis=1)
        self._best_snr = heard.max(axis=1)

    def serving(
        self, position: Int[np.ndarray, " ue"], serving: Int[np.ndarray, " ue"]
    ) -> Int[np.ndarray, " ue"]:
        """The strongest cell, but only if it beats the present one by the hysteresis."""
        present = self._snr.ravel()[position * self._snr.shape[1] + serving]
        present *= self._on[serving] & (serving >= 0)
        leaves = self._best_snr[position] > self._hysteresis * present
        return np.where(leaves, self.best_cell[position], serving)
