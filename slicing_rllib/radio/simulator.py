"""The downlink of a sliced network, in steps of one slicing interval."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from slicing_rllib.radio.interference import (
    NARROWEST_SHARE,
    TOLERANCE,
    ActiveUes,
    LoadFixedPoint,
    solve_load_fixed_point,
)
from slicing_rllib.radio.kpis import Phase, StepKpis, compute_kpis
from slicing_rllib.radio.link import LINKS
from slicing_rllib.radio.scenario import Scenario
from slicing_rllib.radio.users import PerUe, Reception, Users, make_reception

PerSlice = Float[np.ndarray, "cell slice"]

MASK_OF_OFF_CELL = -1.0
"""Below the quantile of every UE, so that none of them is active."""


class Simulator:
    """Simulates a network step by step.

    Before a step, its active UEs are known and the split of each cell's carrier is not. `step`
    returns the KPIs under a split and continues with the next step; `evaluate` returns the same
    KPIs and does not continue. Equal seeds and splits give bit-identical results.
    `seed` is that of UE movement and masks, `map_seed` (default: `seed`) that of shadowing and line
    of sight.
    """

    def __init__(self, scenario: Scenario, seed: int, *, map_seed: int | None = None) -> None:
        self.scenario = scenario
        self.map_seed = seed if map_seed is None else map_seed
        self.reception: Reception = make_reception(scenario, self.map_seed)
        """The map of link gains, and which cells are on the air."""
        self.traffic_factor: PerSlice | None = None
        """Of the mask, up to all UEs; slices without traffic get no PRBs. None: 1 everywhere."""
        self._link = LINKS[scenario.radio.link]
        self._rate_mbps = np.array([s.traffic.rate_kbps for s in scenario.slices]) / 1e3
        self._packet_kbit = np.array([s.traffic.packet_kbit for s in scenario.slices])
        self.phase: Int[np.ndarray, " cell"] = np.full(len(scenario.cells), int(Phase.CONTROLLED))
        """The `Phase` of each cell."""
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Starts again with the movement and masks of `seed`; map and phases do not change."""
        scenario = self.scenario
        self._seed = seed
        self._mask = scenario.bind_mask(seed)
        self._users = Users(scenario, seed)
        shape = len(scenario.cells), scenario.n_slices
        self._mean_inverse_rate = np.full(shape, 1e6 / scenario.radio.bandwidth_hz)
        self.step_index = 0
        """Index of the coming step: the number of steps since the reset."""
        self._active_ues: ActiveUes | None = None
        self._apply_phases()
        self.fixed_point: LoadFixedPoint | None = None
        """The load fixed point of the last call of `step` or `evaluate`."""

    @property
    def hour(self) -> int | None:
        """Local hour of the coming step, 0 to 23; None for traffic without a clock."""
        return self._mask.hour_at_step(self.step_index)

    def set_phase(self, cell: str | int, phase: Phase) -> None:
        """Sets the phase of a cell, by name or index, from the coming step on.

        Raises: ValueError for an unknown cell.
        """
        cells = self.scenario.cells
        index = cells.index(cell) if isinstance(cell, str) and cell in cells else cell
        if isinstance(index, str) or not 0 <= index < len(cells):
            raise ValueError(f"cell: expected one of {cells[0]} to {cells[-1]}, got {cell!r}")
        if self.phase[index] != phase:
            self.phase[index] = phase
            self._apply_phases()

    def change_traffic(self, factor: PerSlice) -> None:
        """Sets `traffic_factor` from the coming step on."""
        self.traffic_factor, self._active_ues = factor, None

    def step(self, prb_ratio: PerSlice) -> StepKpis:
        """KPIs of the coming step under a split of each carrier; then continues with the next step.

        `prb_ratio` are non-negative weights, which are scaled to a sum of 1 per cell.
        Raises: ValueError with the first cell whose weights are not finite, negative or all zero.
        """
        kpis = self.evaluate(prb_ratio)
        self._mean_inverse_rate = np.where(
            kpis.users > 0, kpis.mean_inverse_rate, self._mean_inverse_rate
        )
        self._users.move(self.step_index)
        self.step_index += 1
        self._active_ues = None
        return kpis

    def evaluate(self, prb_ratio: PerSlice, *, tolerance: float = TOLERANCE) -> StepKpis:
        """KPIs that `step` would return, with loads up to `tolerance`.

        Raises: ValueError, like `step`.
        """
        share = self.normalise_prb_ratio(prb_ratio)
        active_ues = self.active_ues
        self.fixed_point = self._solve_loads(share, self._predict_utilisation(share), tolerance)
        return compute_kpis(
            active_ues,
            self.fixed_point,
            share,
            self._rate_mbps,
            self._packet_kbit,
            self._link,
            self.scenario,
            self.phase.copy(),
        )

    @property
    def active_ues(self) -> ActiveUes:
        """The active UEs of the coming step, their serving cells and their link gains."""
        if self._active_ues is None:
            self._active_ues = self._find_active_ues()
        return self._active_ues

    @property
    def demand_mbps(self) -> PerSlice:
        """Traffic that is offered in the coming step."""
        return self.active_ues.users * self._rate_mbps

    def serving_map(self) -> Int[np.ndarray, "row column"]:
        """The strongest cell on the air at each map position."""
        return self.reception.best_cell.reshape(self.reception.shape)

    def state(self) -> dict[str, Any]:
        """The state that a bit-identical continuation needs, as arrays and numbers."""
        # Attaches the UEs first, so that `serving` is that of the coming step.
        self._active_ues = self.active_ues
        return {
            "seed": self._seed,
            "slot": self.step_index,
            "phase": self.phase.copy(),
            "place": self._users.location.copy(),
            "velocity": self._users.velocity.copy(),
            "serving": self._users.serving.copy(),
            "mean_inverse_rate": self._mean_inverse_rate.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from `state()` of a simulator with the same scenario and map, bit for bit."""
        self.reset(int(state["seed"]))
        self.step_index = int(state["slot"])
        self.phase = np.array(state["phase"])
        self._apply_phases()
        self._users.location = np.array(state["place"])
        self._users.velocity = np.array(state["velocity"])
        self._users.serving = np.array(state["serving"])
        self._mean_inverse_rate = np.array(state["mean_inverse_rate"])

    def normalise_prb_ratio(self, prb_ratio: PerSlice) -> PerSlice:
        """The split that is applied: weights scaled to a sum of 1 per cell. Source: paper, eq. (1).

        Cells under the default action get equal shares, and cells that are off get zeros.
        Raises: ValueError, like `step`.
        """
        share = np.array(prb_ratio, np.float64)
        shape = len(self.phase), len(self._rate_mbps)
        if share.shape != shape:
            raise ValueError(f"prb_ratio: expected shape {shape}, got {share.shape}")
        if not self._all_controlled:
            share[~self.controlled] = 1.0
        if self.traffic_factor is not None:
            is_served = self.traffic_factor > 0
            is_served |= ~is_served.any(axis=1, keepdims=True)
            share[~is_served] = 0.0
            is_empty = ~share.any(axis=1)
            share[is_empty] = is_served[is_empty]
        total = share.sum(axis=1, keepdims=True)
        # A NaN makes all of these comparisons false.
        if not (share.min() >= 0 and total.min() > 0 and total.max() < np.inf):
            is_valid = (share >= 0).all(axis=1) & np.isfinite(total[:, 0]) & (total[:, 0] > 0)
            row = int(np.argmin(is_valid))
            raise ValueError(
                f"prb_ratio of {self.scenario.cells[row]}: expected finite weights, none negative, "
                f"with a positive sum, got {share[row].tolist()}"
            )
        share /= total
        if not self._all_controlled:
            share[~self.on] = 0.0
        return share

    def _find_active_ues(self) -> ActiveUes:
        """Attaches all UEs to cells and selects those that the mask makes active."""
        users = self._users
        position, rank, key, mask = self._attach()
        active = np.flatnonzero(users.quantile <= mask.ravel().take(key))
        active = self.reception.sort_for_lookup(active, key)
        signal, snr, pair = self.reception.look_up_snr(position.take(active), rank.take(active))
        if users.wall_gain is not None:
            wall_gain = users.wall_gain.take(active)
            signal, snr = signal * wall_gain, snr * wall_gain[:, None]
        active_key = key.take(active)
        count = np.bincount(active_key, minlength=mask.size).astype(np.float64)
        return ActiveUes(active_key, signal, snr, count.reshape(mask.shape), pair)

    def _attach(self) -> tuple[PerUe, PerUe, PerUe, PerSlice]:
        """Hands UEs over. Returns, of each UE, the position, the rank of its cell there and its
        serving cell * number of slices + slice; and the mask of the coming step."""
        users = self._users
        position = users.positions(self.reception.shape)
        users.serving, rank = self.reception.attach(position, users.serving)
        key = users.serving * self.scenario.n_slices + users.slice_index
        mask = self._mask.at_step(self.step_index)
        if self.traffic_factor is not None:
            mask = mask * self.traffic_factor
        if not self._all_controlled:
            mask = np.where(self.on[:, None], mask, MASK_OF_OFF_CELL)
        return position, rank, key, mask

    def _solve_loads(
        self, share: PerSlice, start: PerSlice, tolerance: float = TOLERANCE
    ) -> LoadFixedPoint:
        return solve_load_fixed_point(
            self.active_ues,
            self._placement.interference(self.active_ues, share),
            share,
            self._rate_mbps,
            self._link,
            self.scenario.radio.bandwidth_hz,
            start,
            tolerance,
        )

    def _predict_utilisation(self, share: PerSlice) -> PerSlice:
        """Utilisation at the mean rates of the last step, where the iteration starts."""
        required = self.active_ues.users * self._rate_mbps * self._mean_inverse_rate
        return np.minimum(required / np.maximum(share, NARROWEST_SHARE), 1.0)

    def _apply_phases(self) -> None:
        self.on: Bool[np.ndarray, " cell"] = self.phase != int(Phase.OFF)
        """Whether a cell is on the air. Replaced, never changed in place."""
        self.controlled: Bool[np.ndarray, " cell"] = self.phase == int(Phase.CONTROLLED)
        """Whether a cell is on the air and not under the default action. Replaced like `on`."""
        self._all_controlled = bool(self.controlled.all())
        self.reception.switch_cells(self.on)
        self._placement = self.reception.make_placement()
        self._active_ues = None
