"""An independent network: every TTI is scheduled, every packet waits in a queue of its own UE.

It judges what was learned in `Simulator`, and shares with it only where UEs are, which of them are
active, and at which mean SNR they receive each cell. There is no queueing law and no fixed point:

1. Packets arrive as a Poisson process per active UE, with log-normal sizes. Queues outlive a step,
   so a slice with too small a share pays later. A packet that waits too long is discarded.
2. In every TTI of 1 ms the carrier's PRB groups are dealt out to the slices of a cell. A share that
   is no whole number of groups is met on average: the borders are drawn anew in every TTI.
3. Within a slice a proportional-fair scheduler grants groups to UEs with data, by their last CQI.
4. Channels fade (Clarke's model). The CQI is a report of the last block of 5 TTIs, under the
   interference of the recent past; an outer loop corrects it by what was received.
5. A transport block is lost with the probability that its SINR on the granted groups, under the
   groups that neighbours use in that very TTI, leaves. What is lost stays in the queue.
6. KPIs are what an operator's counters give (3GPP TS 28.552): throughput is volume over time with
   data waiting, delay is that of packets, loads count groups.

Arrivals, fading and draws are functions of the seed, the step and the UE, not of the splits.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.radio.interference import ActiveUes
from slicing_rllib.radio.kpis import StepKpis, sinr_percentiles_db
from slicing_rllib.radio.link import CQI_BITS_PER_RE, CQI_OVERHEAD, CQI_TABLE, RE_PER_PRB_HZ
from slicing_rllib.radio.scenario import Scenario
from slicing_rllib.radio.simulator import PerSlice, Simulator
from slicing_rllib.radio.specs import TtiLevel
from slicing_rllib.random_streams import Stream, make_generator

TTI_S = 1e-3
BLOCK_TTIS = 5
"""TTIs between two CQI reports, in which a channel does not change."""
WAVES = 8
"""Plane waves per channel: their sum is nearly Rayleigh distributed."""
LIGHT_M_PER_S = 299_792_458.0
BLER_SLOPE_PER_DB = 2.2
"""Steepness of the block error rate over the SINR; at a CQI's threshold it is `TARGET_BLER`."""
TARGET_BLER = 0.1
LINK_STEP_DB = 0.3
"""How far the outer loop lowers a UE's SINR after a lost block."""
MAX_LINK_OFFSET_DB = 6.0
FAIRNESS_TTIS = 100
"""Memory of the proportional-fair scheduler."""
ACTIVITY_TTIS = 20
"""Memory of the interference that a CQI is measured under."""
LEAST_RATE = 1e-3
"""Of a UE's mean rate in the scheduler, kbit per TTI, so that new UEs have a finite priority."""
NOTHING_KBIT = 1e-6

PerUe = Float[np.ndarray, " ue"]
PerGroup = Float[np.ndarray, "cell group"]
Indices = Int[np.ndarray, " _"]
PerKey = Int[np.ndarray, " key"]


class Queues(NamedTuple):
    """What a step leaves to the next one."""

    ue: Int[np.ndarray, " packet"]
    """UE of each waiting packet; a UE's packets stand in the order in which they came."""
    kbit: Float[np.ndarray, " packet"]
    """What is left of each."""
    born: Int[np.ndarray, " packet"]
    """TTI in which it came, counted from the reset."""
    mean_rate: PerUe
    """Recent rate of each UE of the network, kbit per TTI."""
    link_offset_db: PerUe
    """Correction of each UE's CQI by the outer loop."""
    activity: PerGroup
    """Recent share of TTIs in which each cell sent on each group."""


class Channels(NamedTuple):
    """The UEs that are served in a step, in the order of their cells and slices."""

    ue: Int[np.ndarray, " present"]
    """Their numbers in the network."""
    key: Int[np.ndarray, " present"]
    """Serving cell * number of slices + slice."""
    cell: Int[np.ndarray, " present"]
    """Serving cell."""
    gain: Float[np.ndarray, "block present subband"]
    """SNR of the serving cell with fading, linear."""
    other_snr: Float[np.ndarray, "present cell"]
    """Mean SNR of every other cell, linear; 0 for the serving one."""


class Carrier(NamedTuple):
    """What is the same in every step."""

    group_kbit: Float[np.ndarray, " cqi"]
    """What a PRB group carries in a TTI."""
    subband: Int[np.ndarray, " group"]
    """Where each PRB group lies."""
    subband_mean: Float[np.ndarray, "group subband"]
    """Weights that average over the groups of each subband."""
    groups: int
    n_slices: int
    ttis: int
    """Of a step."""


class TtiNetwork(Simulator):
    """A network of up to `radio.cells_kept` cells, whose steps are whole numbers of TTIs.

    `evaluate` takes as long as `step`.

    Raises: ValueError for settings of another kind, a larger network, or other steps.
    """

    def __init__(self, scenario: Scenario, seed: int, *, map_seed: int | None = None) -> None:
        if not isinstance(scenario.network, TtiLevel):
            raise ValueError(f"network: expected kind tti, got {scenario.network.kind}")
        self._settings, radio = scenario.network, scenario.radio
        if len(scenario.cells) > radio.cells_kept:
            raise ValueError(
                f"network tti: expected at most radio.cells_kept = {radio.cells_kept} cells, "
                f"got {len(scenario.cells)}"
            )
        ttis = round(scenario.step_s / TTI_S)
        if ttis < 1 or abs(ttis * TTI_S - scenario.step_s) > 1e-9:
            raise ValueError(f"network tti: expected steps of whole ms, got {scenario.step_s} s")
        groups = min(self._settings.prb_groups, radio.n_prbs)
        subbands = min(self._settings.subbands, groups)
        subband = np.arange(groups) * subbands // groups
        is_in = subband[:, None] == np.arange(subbands)
        resource_elements = radio.bandwidth_hz / groups * RE_PER_PRB_HZ * TTI_S
        self._carrier = Carrier(
            CQI_BITS_PER_RE * resource_elements * (1 - CQI_OVERHEAD) / 1e3,
            subband,
            is_in / is_in.sum(axis=0),
            groups,
            scenario.n_slices,
            ttis,
        )
        super().__init__(scenario, seed, map_seed=map_seed)

    def reset(self, seed: int) -> None:
        """Starts again, with empty queues."""
        super().reset(seed)
        scenario, carrier = self.scenario, self._carrier
        n_ues, n_cells = len(self._users.quantile), len(scenario.cells)
        idle = np.full((n_cells, carrier.groups), scenario.radio.idle_load)
        self._queues = self._after = Queues(
            np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64),
            np.full(n_ues, LEAST_RATE), np.zeros(n_ues), idle,
        )  # fmt: skip
        # Clarke's model: waves from all directions, each with the Doppler shift of its own.
        rng = make_generator(seed, Stream.FADING)
        mobility = scenario.mobility
        speed_m_per_s = rng.uniform(mobility.min_speed_kmh, mobility.max_speed_kmh, n_ues) / 3.6
        doppler_hz = speed_m_per_s * scenario.radio.carrier_hz / LIGHT_M_PER_S
        shape = (WAVES, n_ues, carrier.subband_mean.shape[1])
        self._wave_hz = doppler_hz[:, None] * np.cos(rng.uniform(0.0, 2 * np.pi, shape))
        self._wave_rad = rng.uniform(0.0, 2 * np.pi, shape)

    def step(self, prb_ratio: PerSlice) -> StepKpis:
        """KPIs of the coming step, like `Simulator.step`; the queues go on as well."""
        kpis = super().step(prb_ratio)
        self._queues = self._after
        return kpis

    def evaluate(self, prb_ratio: PerSlice, *, tolerance: float = 0.0) -> StepKpis:
        """KPIs that `step` would return; nothing is iterated, so `tolerance` has no effect."""
        share = self.normalise_prb_ratio(prb_ratio)
        _ = self.active_ues  # Attaches the UEs.
        channels, packets = self._find_channels(), self._draw_packets()
        first_tti = self.step_index * self._carrier.ttis
        idle = np.where(self.on, self.scenario.radio.idle_load, 0.0)
        rng = make_generator(self._seed, Stream.BLOCK_ERRORS, self.step_index)
        served = ServedStep(self._carrier, share, channels, packets, first_tti, idle, rng)
        kpis, self._after = self._count(share, channels, packets, served)
        return kpis

    def state(self) -> dict[str, Any]:
        """As `Simulator.state`, with the queues."""
        return super().state() | {f"queues_{k}": v for k, v in self._queues._asdict().items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from `state()`, bit for bit."""
        super().restore(state)
        kept = (np.array(state[f"queues_{name}"]) for name in Queues._fields)
        self._queues = self._after = Queues(*kept)

    def _find_active_ues(self) -> ActiveUes:
        self._position, self._rank, self._key, mask = self._attach()
        self._is_active = self._users.quantile <= mask.ravel().take(self._key)
        key = self._key[self._is_active]
        count = np.bincount(key, minlength=mask.size).astype(np.float64).reshape(mask.shape)
        return ActiveUes(key, np.zeros(0), np.zeros((0, 0)), count)

    def _find_channels(self) -> Channels:
        """The UEs that are active or have data, and how they receive in this step."""
        waits = np.zeros(len(self._is_active), bool)
        waits[self._queues.ue] = True
        ue = np.flatnonzero(self._is_active | waits)
        ue = ue[np.argsort(self._key[ue], kind="stable")]
        cell = self._key[ue] // self._carrier.n_slices
        signal, snr, _ = self.reception.look_up_snr(self._position[ue], self._rank[ue])
        wall_gain = np.ones(len(ue)) if self._users.wall_gain is None else self._users.wall_gain[ue]
        other_snr = snr * wall_gain[:, None]
        other_snr[np.arange(len(ue)), cell] = 0.0
        first_s = self.step_index * self._carrier.ttis * TTI_S
        hz = self._wave_hz[:, ue]
        wave = np.exp(1j * (2 * np.pi * hz * first_s + self._wave_rad[:, ue]))
        turn = np.exp(2j * np.pi * hz * BLOCK_TTIS * TTI_S)
        power: list[np.ndarray] = []
        for _ in range(0, self._carrier.ttis, BLOCK_TTIS):
            power.append(np.abs(wave.sum(axis=0)) ** 2 / WAVES)
            wave *= turn
        gain = (signal * wall_gain)[:, None] * np.stack(power)
        return Channels(ue, self._key[ue], cell, gain, other_snr)

    def _draw_packets(self) -> Queues:
        """The waiting packets, and those that come in this step: each UE's in their order."""
        rng = make_generator(self._seed, Stream.PACKETS, self.step_index)
        # In the order of UE numbers, so that it does not matter what waits, nor in which cell.
        active = np.flatnonzero(self._is_active)
        slices = self._users.slice_index[active]
        kbit_of_step = self._rate_mbps[slices] * 1e3 * self.scenario.step_s
        count = np.asarray(rng.poisson(kbit_of_step / self._packet_kbit[slices]))
        n_new, sigma = int(count.sum()), self._settings.packet_sigma
        factor = np.exp(sigma * rng.standard_normal(n_new) - 0.5 * sigma**2)
        ttis, old = self._carrier.ttis, self._queues
        ue = np.concatenate([old.ue, np.repeat(active, count)])
        kbit = np.concatenate([old.kbit, np.repeat(self._packet_kbit[slices], count) * factor])
        born_now = self.step_index * ttis + np.asarray(rng.integers(ttis, size=n_new))
        born = np.concatenate([old.born, born_now])
        order = np.lexsort((born, ue))
        return old._replace(ue=ue[order], kbit=kbit[order], born=born[order])

    def _count(
        self, share: PerSlice, channels: Channels, packets: Queues, served: "ServedStep"
    ) -> tuple[StepKpis, Queues]:
        """The counters of the step, and what it leaves to the next one."""
        ttis, size = self._carrier.ttis, share.size

        def count(key: np.ndarray, values: np.ndarray | float = 1.0) -> PerSlice:
            summed = np.bincount(key, np.broadcast_to(values, key.shape), size)
            return summed.astype(np.float64).reshape(share.shape)

        row = served.row[packets.ue]
        key, sent_kbit = channels.key[row], served.total[row]
        # The level of a packet: what its UE must have been sent until it has left.
        running = np.cumsum(packets.kbit)
        first = np.searchsorted(packets.ue, packets.ue)
        level = running - running[first] + packets.kbit[first]
        has_left = level <= sent_kbit + NOTHING_KBIT
        until = find_leaving_tti(served.sent, row, level - NOTHING_KBIT) + 1
        age_ttis = self.step_index * ttis + np.where(has_left, until, ttis) - packets.born
        delay_ms = divide(count(key, age_ttis * TTI_S * 1e3), count(key))
        stays = ~has_left & (age_ttis * TTI_S * 1e3 < self._settings.discard_ms)
        rest_kbit = np.minimum(level - sent_kbit, packets.kbit)
        after = served.after._replace(
            ue=packets.ue[stays], kbit=rest_kbit[stays], born=packets.born[stays]
        )
        is_new = packets.born >= self.step_index * ttis
        new_kbit, n_new = count(key, packets.kbit * is_new), count(key, is_new * 1.0)
        demand_mbps = new_kbit / (1e3 * self.scenario.step_s)
        users, n_busy = count(channels.key), count(channels.key, (served.busy > 0) * 1.0)
        # kbit per ms are Mbit/s.
        throughput_mbps = divide(served.total, served.busy)
        rates_mbps = self._carrier.group_kbit[find_cqi(served.reported_db)] * self._carrier.groups
        peak_mbps = self._carrier.group_kbit[-1] * self._carrier.groups
        mean_rate_mbps = divide(count(channels.key, rates_mbps.mean(axis=0)), users, peak_mbps)
        mean_inverse = divide(count(channels.key, (1.0 / rates_mbps).mean(axis=0)), users)
        mean_sinr = 10 ** (served.reported_db.mean(axis=0) / 10)
        percentiles = sinr_percentiles_db(channels.key, mean_sinr, users)
        kpis = StepKpis(
            throughput_mbps=np.where(
                n_busy > 0, divide(count(channels.key, throughput_mbps), n_busy), mean_rate_mbps
            ),
            delay_ms=np.minimum(delay_ms, self.scenario.delay_cap_ms),
            load=served.used.reshape(share.shape) / (self._carrier.groups * ttis),
            utilisation=divide(served.used, served.given).reshape(share.shape),
            users=users,
            prb_ratio=share,
            demand_mbps=demand_mbps,
            required_share=demand_mbps * mean_inverse,
            mean_rate_mbps=mean_rate_mbps,
            mean_inverse_rate=mean_inverse,
            packet_kbit=np.where(n_new > 0, divide(new_kbit, n_new), self._packet_kbit),
            sinr_db_p10=percentiles[0],
            sinr_db_p50=percentiles[1],
            sinr_db_p90=percentiles[2],
            phase=self.phase.copy(),
        )
        return kpis, after


class ServedStep:
    """All TTIs of a step, one after the other."""

    def __init__(
        self,
        carrier: Carrier,
        share: PerSlice,
        channels: Channels,
        packets: Queues,
        first_tti: int,
        idle: Float[np.ndarray, " cell"],
        rng: np.random.Generator,
    ) -> None:
        """`idle` is the power of a group that carries nothing, relative to one that does."""
        self._carrier, self._channels, self._idle = carrier, channels, idle[:, None]
        n_cells, n_ues, ttis = len(share), len(channels.ue), carrier.ttis
        self.row = np.full(len(packets.mean_rate), -1)
        """Row of each UE of the network in what follows; -1 for those that are not present."""
        self.row[channels.ue] = np.arange(n_ues)
        self._backlog = np.zeros(n_ues)
        self._rate = packets.mean_rate[channels.ue]
        self._offset_db = packets.link_offset_db[channels.ue]
        self._activity = packets.activity.copy()
        self.total = np.zeros(n_ues)
        """What each UE has been sent, kbit."""
        self.sent = np.zeros((ttis, n_ues))
        """The same up to the end of each TTI."""
        self.busy = np.zeros(n_ues)
        """TTIs with data waiting, of each UE."""
        self.used, self.given = np.zeros(share.size), np.zeros(share.size)
        """PRB groups that carried data, and those that a slice had, summed over TTIs."""
        arrivals = np.zeros((ttis, n_ues))
        when = np.maximum(packets.born - first_tti, 0)
        np.add.at(arrivals, (when, self.row[packets.ue]), packets.kbit)
        luck = rng.random((ttis, len(self.row)), np.float32)[:, channels.ue]
        dither = rng.random((ttis, n_cells, 1))
        # Rounding must not give a cell one group more than there are.
        border = np.minimum(np.cumsum(share, axis=1) * carrier.groups, carrier.groups - 1e-9)
        reports: list[np.ndarray] = []
        for tti in range(ttis):
            if tti % BLOCK_TTIS == 0:
                self._gain = channels.gain[tti // BLOCK_TTIS]
                reports.append(self._measure_sinr_db())
                # CQIs are one block old; those of a step's first block are measured at once.
                self._cqi = find_cqi(reports[max(len(reports) - 2, 0)] + self._offset_db)
                self._group_kbit = carrier.group_kbit[self._cqi]
            self._backlog += arrivals[tti]
            self._serve(np.floor(border + dither[tti]).astype(np.int64), luck[tti])
            self.sent[tti] = self.total
        self.reported_db = np.stack(reports)
        """SINR that UEs reported, by block."""
        rate, offset_db = packets.mean_rate.copy(), packets.link_offset_db.copy()
        rate[channels.ue], offset_db[channels.ue] = self._rate, self._offset_db
        self.after = Queues(packets.ue, packets.kbit, packets.born, rate, offset_db, self._activity)
        """What schedulers leave to the next step, with the packets from before this one."""

    def _measure_sinr_db(self) -> PerUe:
        """The SINR of a flat channel that would have the mean capacity of all subbands."""
        activity = self._activity @ self._carrier.subband_mean
        sinr = self._gain / (1.0 + self._channels.other_snr @ activity)
        return to_sinr_db(np.log2(1.0 + sinr).mean(axis=1))

    def _serve(self, border: Int[np.ndarray, "cell slice"], luck: PerUe) -> None:
        """One TTI: deals out groups, grants them, sends, and updates schedulers and counters.

        `border` is the group after each slice's last one.
        """
        lower = np.concatenate([np.zeros_like(border[:, :1]), border[:, :-1]], axis=1).ravel()
        size = border.ravel() - lower
        self.given += size
        sends = np.zeros_like(self._activity)
        waiting = np.flatnonzero(self._backlog > NOTHING_KBIT)
        if len(waiting):
            self.busy[waiting] += 1.0
            got = np.zeros(len(self._backlog))
            ue, granted, first = self._grant(waiting, lower, size)
            if len(ue):
                got[ue] = self._send(ue, granted, first, sends, luck)
            self._rate[waiting] += (got[waiting] - self._rate[waiting]) / FAIRNESS_TTIS
            np.maximum(self._rate, LEAST_RATE, out=self._rate)
        self._activity += (np.maximum(sends, self._idle) - self._activity) / ACTIVITY_TTIS

    def _grant(
        self, waiting: Indices, lower: PerKey, size: PerKey
    ) -> tuple[Indices, Indices, Indices]:
        """The UEs that get groups, how many each, and its first one.

        The UE with the highest rate over its recent mean rate gets what it needs, then the next.
        """
        priority = self._group_kbit[waiting] / self._rate[waiting]
        waiting = waiting[np.lexsort((-priority, self._channels.key[waiting]))]
        key = self._channels.key[waiting]
        wanted = np.ceil(self._backlog[waiting] / self._group_kbit[waiting]).astype(np.int64)
        before = np.cumsum(wanted) - wanted
        # Each slice counts from its own first UE.
        before -= before[np.searchsorted(key, key)]
        granted = np.clip(size[key] - before, 0, wanted)
        chosen = granted > 0
        return waiting[chosen], granted[chosen], (lower[key] + before)[chosen]

    def _send(
        self, ue: Indices, granted: Indices, first: Indices, sends: PerGroup, luck: PerUe
    ) -> Float[np.ndarray, " granted"]:
        """What arrives, kbit; marks in `sends` the groups that carry data."""
        channels = self._channels
        start = np.cumsum(granted) - granted
        owner = np.repeat(np.arange(len(ue)), granted)
        group, by_group = first[owner] + np.arange(len(owner)) - start[owner], ue[owner]
        sends[channels.cell[by_group], group] = 1.0
        power = np.maximum(sends, self._idle)[:, group].T
        noise = 1.0 + (channels.other_snr[by_group] * power).sum(axis=1)
        sinr = self._gain[by_group, self._carrier.subband[group]] / noise
        sinr_db = to_sinr_db(np.add.reduceat(np.log2(1.0 + sinr), start) / granted)
        is_lost = luck[ue] < block_error_rate(sinr_db - CQI_TABLE[self._cqi[ue], 0])
        kbit = np.minimum(self._backlog[ue], granted * self._group_kbit[ue])
        kbit[is_lost] = 0.0
        self._backlog[ue] -= kbit
        self.total[ue] += kbit
        raised_db = LINK_STEP_DB * TARGET_BLER / (1.0 - TARGET_BLER)
        offset_db = self._offset_db[ue] + np.where(is_lost, -LINK_STEP_DB, raised_db)
        self._offset_db[ue] = np.clip(offset_db, -MAX_LINK_OFFSET_DB, MAX_LINK_OFFSET_DB)
        self.used += np.bincount(channels.key[ue], granted, len(self.used))
        return kbit


def find_cqi(sinr_db: np.ndarray) -> np.ndarray:
    """Index of the highest CQI whose threshold the SINR reaches; at least the first."""
    return np.maximum(np.searchsorted(CQI_TABLE[:, 0], sinr_db, side="right") - 1, 0)


def to_sinr_db(capacity: PerUe) -> PerUe:
    """The SINR of a channel with this Shannon capacity in bit/s/Hz."""
    return 10 * np.log10(np.exp2(capacity) - 1.0 + 1e-9)


def block_error_rate(margin_db: PerUe) -> PerUe:
    """Of a transport block whose SINR is this far above its CQI's threshold."""
    odds = TARGET_BLER / (1.0 - TARGET_BLER) * np.exp(-BLER_SLOPE_PER_DB * margin_db)
    return odds / (1.0 + odds)


def find_leaving_tti(
    sent: Float[np.ndarray, "tti present"],
    row: Int[np.ndarray, " packet"],
    level: Float[np.ndarray, " packet"],
) -> Int[np.ndarray, " packet"]:
    """The first TTI at whose end a packet's UE has been sent `level`; the last one if none.

    One search serves all UEs: each gets an offset above whatever a UE is sent.
    """
    ttis, n_ues = sent.shape
    most = float(np.max(sent, initial=0.0)) + float(np.max(level, initial=0.0)) + 1.0
    offset = np.cumsum(np.full(n_ues, most))
    found = np.searchsorted((sent + offset).T.ravel(), level + offset[row])
    return np.minimum(found - row * ttis, ttis - 1)


def divide(total: np.ndarray, count: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    """Quotients, and `otherwise` where the count is 0."""
    return np.where(count > 0, total / np.where(count > 0, count, 1.0), otherwise)
