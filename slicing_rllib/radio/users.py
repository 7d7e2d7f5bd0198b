"""The UEs of a network: where they are, which cell serves them, and at which SNR they receive it.

`DenseReception` keeps every cell at every map position and serves small networks.
`SparseReception` keeps the strongest cells of each position and serves networks of any size.
"""

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from slicing_rllib.radio.gain_map import build_gain_map
from slicing_rllib.radio.interference import Placement, PrbPlacement
from slicing_rllib.radio.scenario import Scenario
from slicing_rllib.radio.sparse_map import SparseMap, build_sparse_map, remove_silent_cells
from slicing_rllib.random_streams import Stream, derive_ue_keys, draw_uniforms
from slicing_rllib.registry import get_part

PerUe = Int[np.ndarray, " ue"]
Indices = Int[np.ndarray, " selected"]
Signal = Float[np.ndarray, " ue"]
Snr = Float[np.ndarray, "ue received"]
Pair = Int32[np.ndarray, "ue received"]

UNATTACHED = -1
"""Serving cell of UEs before their first step."""


class Reception(ABC):
    """The map of link gains as seen by UEs, with some cells on the air."""

    best_cell: Int[np.ndarray, " position"]
    """The strongest cell on the air at each map position."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self.shape = scenario.area.grid_shape(scenario.radio.map_resolution_m)
        """Rows and columns of the map."""
        self._on: Bool[np.ndarray, " cell"] = np.zeros(0, bool)
        self.switch_cells(np.ones(len(scenario.cells), bool))

    def switch_cells(self, on: Bool[np.ndarray, " cell"]) -> None:
        """Sets which cells are on the air."""
        if not np.array_equal(on, self._on):
            self._on = on.copy()
            self._apply_switches()

    @abstractmethod
    def _apply_switches(self) -> None:
        """Computes what depends on `_on`."""

    @abstractmethod
    def attach(self, position: PerUe, serving: PerUe) -> tuple[PerUe, PerUe]:
        """Hands UEs over to their strongest cell if it beats `serving` by the hysteresis.

        Returns the serving cell and its rank among the cells that the map keeps at the position.
        """

    def sort_for_lookup(self, selected: Indices, key: PerUe) -> Indices:
        """Sorts indices of UEs into the order in which lookups are fastest."""
        return selected

    @abstractmethod
    def look_up_snr(self, position: PerUe, rank: PerUe) -> tuple[Signal, Snr, Pair | None]:
        """The SNR of UEs at these map positions, whose serving cells have these ranks.

        Returns `signal`, `snr` and `pair` of `ActiveUes`.
        """

    @abstractmethod
    def make_placement(self) -> Placement:
        """The scenario's PRB placement for the cells on the air."""


def make_reception(scenario: Scenario, map_seed: int) -> Reception:
    """A dense reception for networks of up to `cells_kept` cells, a sparse one for larger ones."""
    is_dense = len(scenario.cells) <= scenario.radio.cells_kept
    return DenseReception(scenario, map_seed) if is_dense else SparseReception(scenario, map_seed)


class DenseReception(Reception):
    """Every position receives every cell; the rank of a cell is its index."""

    def __init__(self, scenario: Scenario, map_seed: int) -> None:
        self.snr = build_gain_map(scenario.sites, scenario.area, scenario.radio, map_seed)
        self._hysteresis = 10 ** (scenario.mobility.handover_hysteresis_db / 10)
        super().__init__(scenario)

    def _apply_switches(self) -> None:
        on = self._on
        self._snr_on_air = self.snr if on.all() else np.where(on, self.snr, 0.0)
        self.best_cell = self._snr_on_air.argmax(axis=1)
        self._handover_threshold = self._snr_on_air.max(axis=1) / self._hysteresis

    def attach(self, position: PerUe, serving: PerUe) -> tuple[PerUe, PerUe]:
        best = self.best_cell.take(position)
        if serving[0] == UNATTACHED:
            return best, best
        serving_snr = self._snr_on_air.take(position * self._snr_on_air.shape[1] + serving)
        hands_over = self._handover_threshold.take(position) > serving_snr
        chosen = np.where(hands_over, best, serving)
        return chosen, chosen

    def look_up_snr(self, position: PerUe, rank: PerUe) -> tuple[Signal, Snr, Pair | None]:
        snr = self.snr.take(position, axis=0)
        signal = snr.ravel().take(np.arange(len(position)) * snr.shape[1] + rank)
        return signal, snr, None

    def make_placement(self) -> Placement:
        radio = self._scenario.radio
        chosen: PrbPlacement = get_part("placement", radio.placement)
        return chosen.dense(self._on, self._scenario.n_slices, radio.idle_load)


class SparseReception(Reception):
    """Every position receives its strongest cells; interference is a list of pairs of cells."""

    def __init__(self, scenario: Scenario, map_seed: int) -> None:
        self._hysteresis_db = scenario.mobility.handover_hysteresis_db
        self._all_on = build_sparse_map(
            scenario.sites, scenario.area, scenario.radio, self._hysteresis_db, map_seed
        )
        super().__init__(scenario)

    def _apply_switches(self) -> None:
        on = self._on
        self._map: SparseMap = self._all_on
        if not on.all():
            self._map = remove_silent_cells(self._all_on, on, self._hysteresis_db)
        self.best_cell = self._map.best_cell

    def attach(self, position: PerUe, serving: PerUe) -> tuple[PerUe, PerUe]:
        chosen = self.best_cell.take(position).astype(np.int64)
        rank = np.zeros(len(position), np.int32)
        not_best = np.flatnonzero(chosen != serving)
        position_of_ue = position.take(not_best)
        current = serving.take(not_best)
        is_current = self._map.cell.take(position_of_ue, axis=0) == current[:, None]
        current_rank = is_current.argmax(axis=1)
        is_strong_enough = current_rank < self._map.candidates.take(position_of_ue)
        stays = is_current.any(axis=1) & is_strong_enough
        staying = not_best[stays]
        chosen[staying] = current[stays]
        rank[staying] = current_rank[stays]
        return chosen, rank

    def sort_for_lookup(self, selected: Indices, key: PerUe) -> Indices:
        # UEs of one slice use the same pairs. NumPy sorts 16-bit integers faster, by radix sort.
        selected_key = key.take(selected)
        n_keys = len(self._on) * self._scenario.n_slices
        narrow_key = selected_key.astype(np.uint16) if n_keys <= 2**16 else selected_key
        return selected.take(np.argsort(narrow_key, kind="stable"))

    def look_up_snr(self, position: PerUe, rank: PerUe) -> tuple[Signal, Snr, Pair | None]:
        row_index = position.copy()
        not_best = np.flatnonzero(rank)
        row_index[not_best] = self._map.other_row.take(position.take(not_best))
        row_index[not_best] += rank.take(not_best)
        row = self._map.row.take(row_index, axis=0)
        kept = row.shape[1] // 2
        snr: Snr = np.ascontiguousarray(row[:, :kept]).view(np.float32)
        signal = snr.ravel().take(np.arange(len(position)) * kept + rank)
        return signal, snr, row[:, kept:]

    def make_placement(self) -> Placement:
        radio, n_slices = self._scenario.radio, self._scenario.n_slices
        chosen: PrbPlacement = get_part("placement", radio.placement)
        return chosen.sparse(self._on, n_slices, radio.idle_load, self._map.pairs)


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
        self._area, self._mobility = scenario.area, scenario.mobility
        # Between walls, one unit is twice the rectangle: to the far wall and back.
        unit_m = np.array(scenario.area.edges_m) * (1.0 if scenario.area.wraps else 2.0)
        self._fractions_per_m = np.linalg.inv(unit_m).T
        self._step_s = scenario.step_s
        self._keys = derive_ue_keys(seed, Stream.MOVEMENT, n_cells, ues_per_cell)
        self.location: Vectors = np.stack(
            [draw_uniforms(self._keys, draw).ravel() for draw in (0, 1)]
        )
        """In fractional coordinates of the area."""
        self.velocity: Vectors = self._draw_legs(0)
        """In fractional coordinates per step."""
        self._next_legs = 0, self.velocity
        self.serving: Int[np.ndarray, " ue"] = np.full(n_cells * ues_per_cell, UNATTACHED)
        self.wall_gain: Float[np.ndarray, " ue"] | None = None
        """Linear gain (at most 1) of the building around each UE; None if all are outdoors.

        A UE keeps its building loss while it moves. Indoor UEs are on the ground floor, because the
        map is that of street level.
        """
        indoor = scenario.indoor
        if indoor.share > 0:
            wall_keys = derive_ue_keys(seed, Stream.WALLS, n_cells, ues_per_cell)
            depth_m = indoor.max_depth_m * draw_uniforms(wall_keys, 1).ravel()
            wall_gain = 10 ** (-(indoor.wall_db + indoor.inside_db_per_m * depth_m) / 10)
            is_indoor = draw_uniforms(wall_keys, 0).ravel() < indoor.share
            self.wall_gain = np.where(is_indoor, wall_gain, 1.0)

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
        shortest_m = self._mobility.min_speed_kmh / 3.6 * self._step_s
        longest_m = self._mobility.max_speed_kmh / 3.6 * self._step_s
        length_m = shortest_m + (longest_m - shortest_m) * draw_uniforms(self._keys, 3 + 2 * number)
        metres = np.stack([length_m * np.cos(heading_rad), length_m * np.sin(heading_rad)])
        return self._fractions_per_m @ metres.reshape(2, -1)
