"""Which cell serves each UE, and at which SNR a UE receives the cells.

`DenseReception` keeps every cell at every map position and serves small networks.
`SparseReception` keeps the strongest cells of each position and serves networks of any size.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from slicing_rllib.radio.gain_map import build_gain_map
from slicing_rllib.radio.interference import PLACEMENTS, Placement
from slicing_rllib.radio.scenario import Scenario
from slicing_rllib.radio.sparse_interference import SPARSE_PLACEMENTS
from slicing_rllib.radio.sparse_map import SparseMap, build_sparse_map, remove_silent_cells

PerUe = Int[np.ndarray, " ue"]
Indices = Int[np.ndarray, " selected"]

UNATTACHED = -1
"""Serving cell of UEs before their first step."""


class Attachment(NamedTuple):
    """The serving cell of each UE."""

    serving: PerUe
    """Index of the cell."""
    rank: PerUe
    """Index of that cell among the cells that the map keeps at the UE's position."""


class UeSnr(NamedTuple):
    """The linear SNR at which UEs receive cells at full power."""

    signal: Float[np.ndarray, " ue"]
    """SNR of the serving cell."""
    snr: Float[np.ndarray, "ue received"]
    """SNR of every cell that the map keeps at the UE's position."""
    pair: Int32[np.ndarray, "ue received"] | None
    """Index of the pair (serving cell, received cell); None if `snr` covers every cell."""


@runtime_checkable
class Reception(Protocol):
    """The map of link gains as seen by UEs, with some cells on the air."""

    shape: tuple[int, int]
    """Rows and columns of the map."""
    best_cell: Int[np.ndarray, " position"]
    """The strongest cell on the air at each map position."""

    def switch_cells(self, on: Bool[np.ndarray, " cell"]) -> None:
        """Sets which cells are on the air."""
        ...

    def attach(self, position: PerUe, serving: PerUe) -> Attachment:
        """Hands UEs over to their strongest cell if it beats `serving` by the hysteresis."""
        ...

    def sort_for_lookup(self, selected: Indices, key: PerUe) -> Indices:
        """Sorts indices of UEs into the order in which lookups are fastest."""
        ...

    def look_up_snr(self, position: PerUe, rank: PerUe) -> UeSnr:
        """The SNR of UEs at these map positions, whose serving cells have these ranks."""
        ...

    def make_placement(self) -> Placement:
        """The scenario's PRB placement for the cells on the air."""
        ...


def make_reception(scenario: Scenario, map_seed: int) -> Reception:
    """A dense reception for networks of up to `cells_kept` cells, a sparse one for larger ones."""
    is_dense = len(scenario.cells) <= scenario.radio.cells_kept
    return DenseReception(scenario, map_seed) if is_dense else SparseReception(scenario, map_seed)


class DenseReception:
    """Every position receives every cell; the rank of a cell is its index."""

    def __init__(self, scenario: Scenario, map_seed: int) -> None:
        gains = build_gain_map(scenario.sites, scenario.area, scenario.radio, map_seed)
        self.shape, self.snr = gains.shape, gains.snr
        self._scenario = scenario
        self._hysteresis = 10 ** (scenario.mobility.handover_hysteresis_db / 10)
        self._on: Bool[np.ndarray, " cell"] = np.zeros(0, bool)
        self.switch_cells(np.ones(len(scenario.cells), bool))

    def switch_cells(self, on: Bool[np.ndarray, " cell"]) -> None:
        if np.array_equal(on, self._on):
            return
        self._on = on.copy()
        self._snr_on_air = self.snr if on.all() else np.where(on, self.snr, 0.0)
        self.best_cell: Int[np.ndarray, " position"] = self._snr_on_air.argmax(axis=1)
        self._handover_threshold = self._snr_on_air.max(axis=1) / self._hysteresis

    def attach(self, position: PerUe, serving: PerUe) -> Attachment:
        best = self.best_cell.take(position)
        if serving[0] == UNATTACHED:
            return Attachment(best, best)
        serving_snr = self._snr_on_air.take(position * self._snr_on_air.shape[1] + serving)
        hands_over = self._handover_threshold.take(position) > serving_snr
        chosen = np.where(hands_over, best, serving)
        return Attachment(chosen, chosen)

    def sort_for_lookup(self, selected: Indices, key: PerUe) -> Indices:
        return selected

    def look_up_snr(self, position: PerUe, rank: PerUe) -> UeSnr:
        snr = self.snr.take(position, axis=0)
        signal = snr.ravel().take(np.arange(len(position)) * snr.shape[1] + rank)
        return UeSnr(signal, snr, None)

    def make_placement(self) -> Placement:
        radio = self._scenario.radio
        return PLACEMENTS[radio.placement](self._on, self._scenario.n_slices, radio.idle_load)


class SparseReception:
    """Every position receives its strongest cells; interference is a list of pairs of cells."""

    def __init__(self, scenario: Scenario, map_seed: int) -> None:
        self._all_on = build_sparse_map(
            scenario.sites,
            scenario.area,
            scenario.radio,
            scenario.mobility.handover_hysteresis_db,
            map_seed,
        )
        self.shape = self._all_on.shape
        self._scenario = scenario
        self._on: Bool[np.ndarray, " cell"] = np.zeros(0, bool)
        self.switch_cells(np.ones(len(scenario.cells), bool))

    def switch_cells(self, on: Bool[np.ndarray, " cell"]) -> None:
        if np.array_equal(on, self._on):
            return
        self._on = on.copy()
        self._map: SparseMap = self._all_on if on.all() else remove_silent_cells(self._all_on, on)
        self.best_cell: Int[np.ndarray, " position"] = self._map.best_cell

    def attach(self, position: PerUe, serving: PerUe) -> Attachment:
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
        return Attachment(chosen, rank)

    def sort_for_lookup(self, selected: Indices, key: PerUe) -> Indices:
        # UEs of one slice use the same pairs. NumPy sorts 16-bit integers faster, by radix sort.
        selected_key = key.take(selected)
        n_keys = len(self._on) * self._scenario.n_slices
        narrow_key = selected_key.astype(np.uint16) if n_keys <= 2**16 else selected_key
        return selected.take(np.argsort(narrow_key, kind="stable"))

    def look_up_snr(self, position: PerUe, rank: PerUe) -> UeSnr:
        row_index = position.copy()
        not_best = np.flatnonzero(rank)
        row_index[not_best] = self._map.other_row.take(position.take(not_best))
        row_index[not_best] += rank.take(not_best)
        row = self._map.row.take(row_index, axis=0)
        kept = row.shape[1] // 2
        snr: Float[np.ndarray, "ue received"] = np.ascontiguousarray(row[:, :kept]).view(np.float32)
        signal = snr.ravel().take(np.arange(len(position)) * kept + rank)
        return UeSnr(signal, snr, row[:, kept:])

    def make_placement(self) -> Placement:
        radio, n_slices = self._scenario.radio, self._scenario.n_slices
        return SPARSE_PLACEMENTS[radio.placement](
            self._on, n_slices, radio.idle_load, self._map.pairs
        )
