"""Who attaches to whom, and what a UE receives of every cell it hears.

Two ways to keep the map, one for networks small enough to look every cell up, one for the rest.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from slicing_rllib.radio.gain_map import gain_map
from slicing_rllib.radio.interference import PLACEMENTS, Placement
from slicing_rllib.radio.scenario import Scenario
from slicing_rllib.radio.sparse_interference import SPARSE_PLACEMENTS
from slicing_rllib.radio.sparse_map import SparseMap, sparse_map, without_silent

PerUe = Int[np.ndarray, " ue"]
Chosen = Int[np.ndarray, " chosen"]

UNATTACHED = -1
"""Serving cell of UEs before their first slot."""


class Attached(NamedTuple):
    """Each UE's serving cell, and where that is among the cells that its place hears."""

    serving: PerUe
    rank: PerUe


class Heard(NamedTuple):
    """What UEs receive, as SNR at full power."""

    signal: Float[np.ndarray, " ue"]
    """Of the serving cell."""
    snr: Float[np.ndarray, "ue heard"]
    pair: Int32[np.ndarray, "ue heard"] | None
    """Which pair each heard cell makes with the serving one; None where all cells are heard."""


@runtime_checkable
class Reception(Protocol):
    """The map as UEs hear it, with some cells on the air."""

    shape: tuple[int, int]
    best_cell: Int[np.ndarray, " position"]

    def switch(self, on: Bool[np.ndarray, " cell"]) -> None:
        """Takes note of which cells are on the air."""
        ...

    def attach(self, position: PerUe, serving: PerUe) -> Attached:
        """The strongest cell, but only if it beats the present one by the hysteresis."""
        ...

    def in_order(self, chosen: Chosen, key: PerUe) -> Chosen:
        """Chosen UEs in the order that makes looking things up fastest."""
        ...

    def listen(self, position: PerUe, rank: PerUe) -> Heard:
        """What UEs at some places receive."""
        ...

    def placement(self) -> Placement:
        """How slices meet on the carrier."""
        ...


def reception_of(scenario: Scenario, map_seed: int) -> Reception:
    """Every cell at every place up to `cells_kept` cells, the strongest beyond."""
    dense = len(scenario.cells) <= scenario.radio.cells_kept
    return DenseReception(scenario, map_seed) if dense else SparseReception(scenario, map_seed)


class DenseReception:
    """Every place hears every cell; its rank is its number."""

    def __init__(self, scenario: Scenario, map_seed: int) -> None:
        found = gain_map(scenario.sites, scenario.ground, scenario.radio, map_seed)
        self.shape, self.snr = found.shape, found.snr
        self._scenario = scenario
        self._hysteresis = 10 ** (scenario.mobility.handover_hysteresis_db / 10)
        self._on: Bool[np.ndarray, " cell"] = np.zeros(0, bool)
        self.switch(np.ones(len(scenario.cells), bool))

    def switch(self, on: Bool[np.ndarray, " cell"]) -> None:
        if np.array_equal(on, self._on):
            return
        self._on = on.copy()
        self._heard = self.snr if on.all() else np.where(on, self.snr, 0.0)
        self.best_cell: Int[np.ndarray, " position"] = self._heard.argmax(axis=1)
        self._to_beat = self._heard.max(axis=1) / self._hysteresis

    def attach(self, position: PerUe, serving: PerUe) -> Attached:
        best = self.best_cell.take(position)
        if serving[0] == UNATTACHED:
            return Attached(best, best)
        present = self._heard.take(position * self._heard.shape[1] + serving)
        chosen = np.where(self._to_beat.take(position) > present, best, serving)
        return Attached(chosen, chosen)

    def in_order(self, chosen: Chosen, key: PerUe) -> Chosen:
        return chosen

    def listen(self, position: PerUe, rank: PerUe) -> Heard:
        snr = self.snr.take(position, axis=0)
        signal = snr.ravel().take(np.arange(len(position)) * snr.shape[1] + rank)
        return Heard(signal, snr, None)

    def placement(self) -> Placement:
        radio = self._scenario.radio
        return PLACEMENTS[radio.placement](self._on, self._scenario.n_slices, radio.idle_load)


class SparseReception:
    """A place hears its strongest cells; who meets whom is a list of pairs."""

    def __init__(self, scenario: Scenario, map_seed: int) -> None:
        self._all = sparse_map(
            scenario.sites,
            scenario.ground,
            scenario.radio,
            scenario.mobility.handover_hysteresis_db,
            map_seed,
        )
        self.shape = self._all.shape
        self._scenario = scenario
        self._on: Bool[np.ndarray, " cell"] = np.zeros(0, bool)
        self.switch(np.ones(len(scenario.cells), bool))

    def switch(self, on: Bool[np.ndarray, " cell"]) -> None:
        if np.array_equal(on, self._on):
            return
        self._on = on.copy()
        self._map: SparseMap = self._all if on.all() else without_silent(self._all, on)
        self.best_cell: Int[np.ndarray, " position"] = self._map.best_cell

    def attach(self, position: PerUe, serving: PerUe) -> Attached:
        chosen = self.best_cell.take(position).astype(np.int64)
        rank = np.zeros(len(position), np.int32)
        elsewhere = np.flatnonzero(chosen != serving)
        place = position.take(elsewhere)
        present = serving.take(elsewhere)
        same = self._map.cell.take(place, axis=0) == present[:, None]
        now = same.argmax(axis=1)
        stays = same.any(axis=1) & (now < self._map.candidates.take(place))
        staying = elsewhere[stays]
        chosen[staying] = present[stays]
        rank[staying] = now[stays]
        return Attached(chosen, rank)

    def in_order(self, chosen: Chosen, key: PerUe) -> Chosen:
        # UEs of a slice meet the same pairs, and small integers are sorted by counting them.
        found = key.take(chosen)
        highest = len(self._on) * self._scenario.n_slices
        narrow = found.astype(np.uint16) if highest <= 2**16 else found
        return chosen.take(np.argsort(narrow, kind="stable"))

    def listen(self, position: PerUe, rank: PerUe) -> Heard:
        number = position.copy()
        lower = np.flatnonzero(rank)
        number[lower] = self._map.other_row.take(position.take(lower)) + rank.take(lower)
        row = self._map.row.take(number, axis=0)
        kept = row.shape[1] // 2
        snr = np.ascontiguousarray(row[:, :kept]).view(np.float32)
        signal = snr.ravel().take(np.arange(len(position)) * kept + rank)
        return Heard(signal, snr, row[:, kept:])

    def placement(self) -> Placement:
        radio, n_slices = self._scenario.radio, self._scenario.n_slices
        return SPARSE_PLACEMENTS[radio.placement](
            self._on, n_slices, radio.idle_load, self._map.pairs
        )
