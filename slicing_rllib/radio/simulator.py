"""The downlink of a sliced network, one slicing interval a step."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.radio.interference import (
    NARROWEST_SHARE,
    TOLERANCE,
    LoadFixedPoint,
    Received,
    solve_load_fixed_point,
)
from slicing_rllib.radio.kpis import Phase, StepKpis
from slicing_rllib.radio.link import LINKS
from slicing_rllib.radio.measurement import compute_kpis
from slicing_rllib.radio.reception import Reception, reception_of
from slicing_rllib.radio.scenario import Scenario
from slicing_rllib.radio.users import Users

PerSlice = Float[np.ndarray, "cell slice"]

NOBODY = -1.0
"""A mask below every UE's quantile."""


class Simulator:
    """Stands at a slot: its UEs are known, the split of its carriers is not yet.

    `step` answers a split with the slot's KPIs and goes on to the next slot; `evaluate` only
    answers. `seed` moves UEs and masks, `map_seed` (by default the same) draws the shadowing. Equal
    seeds and splits give equal bits.
    """

    def __init__(self, scenario: Scenario, seed: int, *, map_seed: int | None = None) -> None:
        self.scenario = scenario
        self.reception: Reception = reception_of(scenario, seed if map_seed is None else map_seed)
        """The map as UEs hear it."""
        self._link = LINKS[scenario.radio.link]
        self._rate_mbps = np.array([s.traffic.rate_kbps for s in scenario.slices]) / 1e3
        self._packet_kbit = np.array([s.traffic.packet_kbit for s in scenario.slices])
        self.phase: Int[np.ndarray, " cell"] = np.full(len(scenario.cells), int(Phase.CONTROLLED))
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Starts over with other movement and masks on the same map; phases stay."""
        scenario = self.scenario
        names = [spec.name for spec in scenario.slices]
        self._seed = seed
        self._mask = scenario.mask.bound(scenario.cells, names, seed)
        self._users = Users(scenario, seed)
        shape = len(scenario.cells), scenario.n_slices
        self._mean_inverse_rate = np.full(shape, 1e6 / scenario.radio.bandwidth_hz)
        self.slot = 0
        """Slots since the reset."""
        self._received: Received | None = None
        self._take_phases()
        self.fixed_point: LoadFixedPoint | None = None
        """How the fixed point of the last answer came about."""

    def set_phase(self, cell: str | int, phase: Phase) -> None:
        """Switches a cell off, to the default action or to control, from this slot on.

        Raises: ValueError for an unknown cell.
        """
        index = self._index(cell)
        if self.phase[index] != phase:
            self.phase[index] = phase
            self._take_phases()

    def step(self, prb_ratio: PerSlice) -> StepKpis:
        """KPIs of this slot under a split of each carrier; then moves on.

        Raises: ValueError naming the cell whose split is not finite, negative or all zero.
        """
        kpis = self.evaluate(prb_ratio)
        self._mean_inverse_rate = np.where(
            kpis.users > 0, kpis.mean_inverse_rate, self._mean_inverse_rate
        )
        self._users.move(self.slot)
        self.slot += 1
        self._received = None
        return kpis

    def evaluate(self, prb_ratio: PerSlice, *, tolerance: float = TOLERANCE) -> StepKpis:
        """What `step` would answer, loads fixed_point to a tolerance. Raises: as `step`."""
        share = self.applied_ratio(prb_ratio)
        received = self.received
        self.fixed_point = self._solve_loads(share, self._likely(share), tolerance)
        return compute_kpis(
            received,
            self.fixed_point,
            share,
            self._rate_mbps,
            self._packet_kbit,
            self._link,
            self.scenario,
            self.phase.copy(),
        )

    @property
    def received(self) -> Received:
        """The active UEs of this slot and what they receive of whom."""
        if self._received is None:
            self._received = self._receive()
        return self._received

    @property
    def demand_mbps(self) -> PerSlice:
        """Traffic offered in this slot."""
        return self.received.users * self._rate_mbps

    def serving_map(self) -> Int[np.ndarray, "row column"]:
        """The cell that each place of the map would attach to."""
        return self.reception.best_cell.reshape(self.reception.shape)

    def bracket(
        self, prb_ratio: PerSlice, tolerance: float = 1e-9
    ) -> tuple[LoadFixedPoint, LoadFixedPoint]:
        """The fixed point from below (all idle) and from above (all full), which enclose it."""
        share = self.applied_ratio(prb_ratio)
        idle = np.zeros_like(share)
        return (
            self._solve_loads(share, idle, tolerance),
            self._solve_loads(share, np.ones_like(share), tolerance),
        )

    def state(self) -> dict[str, Any]:
        """All that a bit-exact continuation needs, as plain arrays and numbers."""
        _ = self.received
        return {
            "seed": self._seed,
            "slot": self.slot,
            "phase": self.phase.copy(),
            "place": self._users.place.copy(),
            "velocity": self._users.velocity.copy(),
            "serving": self._users.serving.copy(),
            "mean_inverse_rate": self._mean_inverse_rate.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues where `state` was taken, bit for bit, on a map of the same seed."""
        self.reset(int(state["seed"]))
        self.slot = int(state["slot"])
        self.phase = np.array(state["phase"])
        self._take_phases()
        self._users.place = np.array(state["place"])
        self._users.velocity = np.array(state["velocity"])
        self._users.serving = np.array(state["serving"])
        self._mean_inverse_rate = np.array(state["mean_inverse_rate"])

    def applied_ratio(self, prb_ratio: PerSlice) -> PerSlice:
        """Eq. (1): weights scaled to a sum of one; equal under default, zero when off."""
        share = np.array(prb_ratio, np.float64)
        shape = len(self.phase), len(self._rate_mbps)
        if share.shape != shape:
            raise ValueError(f"prb_ratio: expected shape {shape}, got {share.shape}")
        if not self._all_controlled:
            share[self.phase != Phase.CONTROLLED] = 1.0
        total = share.sum(axis=1, keepdims=True)
        # A NaN fails both comparisons of its row's extremes.
        if not (share.min() >= 0 and total.min() > 0 and total.max() < np.inf):
            raise ValueError(self._refusal(share))
        share /= total
        if not self._all_controlled:
            share[self.phase == Phase.OFF] = 0.0
        return share

    def _refusal(self, share: PerSlice) -> str:
        total = share.sum(axis=1)
        row = int(np.argmin((share >= 0).all(axis=1) & np.isfinite(total) & (total > 0)))
        return (
            f"prb_ratio of {self.scenario.cells[row]}: expected finite weights, none negative, "
            f"with a positive sum, got {share[row].tolist()}"
        )

    def _receive(self) -> Received:
        """Attaches everyone and picks out who is active."""
        users = self._users
        position = users.positions(self.reception.shape)
        attached = self.reception.attach(position, users.serving)
        users.serving = attached.serving
        key = attached.serving * self.scenario.n_slices + users.slice_index
        share = self._mask.at(self.slot)
        if not self._all_controlled:
            share = np.where(self.phase[:, None] != Phase.OFF, share, NOBODY)
        active = np.flatnonzero(users.quantile <= share.ravel().take(key))
        active = self.reception.in_order(active, key)
        signal, snr, pair = self.reception.listen(position.take(active), attached.rank.take(active))
        if users.wall_gain is not None:
            walls = users.wall_gain.take(active)
            signal, snr = signal * walls, snr * walls[:, None]
        active_key = key.take(active)
        count = np.bincount(active_key, minlength=share.size).astype(np.float64)
        return Received(active_key, signal, snr, count.reshape(share.shape), pair)

    def _solve_loads(
        self, share: PerSlice, start: PerSlice, tolerance: float = TOLERANCE
    ) -> LoadFixedPoint:
        return solve_load_fixed_point(
            self.received,
            self._placement.interference(self.received, share),
            share,
            self._rate_mbps,
            self._link,
            self.scenario.radio.bandwidth_hz,
            start,
            tolerance,
        )

    def _likely(self, share: PerSlice) -> PerSlice:
        """Utilisation if UEs' rates on average are what they were: where the iteration starts."""
        required = self.received.users * self._rate_mbps * self._mean_inverse_rate
        return np.minimum(required / np.maximum(share, NARROWEST_SHARE), 1.0)

    def _take_phases(self) -> None:
        on = self.phase != Phase.OFF
        self._all_controlled = bool((self.phase == Phase.CONTROLLED).all())
        self.reception.switch(on)
        self._placement = self.reception.placement()
        self._received = None

    def _index(self, cell: str | int) -> int:
        cells = self.scenario.cells
        if isinstance(cell, str) and cell in cells:
            return cells.index(cell)
        if not isinstance(cell, str) and 0 <= cell < len(cells):
            return int(cell)
        raise ValueError(f"cell: expected one of {cells[0]} to {cells[-1]}, got {cell!r}")
