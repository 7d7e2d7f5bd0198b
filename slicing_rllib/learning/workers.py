"""Steps sampled by remote env runners: requested, and collected in the order of the runners.

Which env runners answer, and on which nodes of the cluster they run.

Updates in further processes: each learner updates some of the cells, and none waits for another.

Cells share no gradient. A learner is a Ray task that receives its cells' networks and a number of
updates, and returns the networks. It keeps no state, so a task that is lost is simply run again.

Draws a batch per cell, and makes one update of all cells that are ready.

How much an update computes, and so how many of torch's threads it is worth.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import ray
import torch
from jaxtyping import Bool

from slicing_rllib.env import CounterfactualReward
from slicing_rllib.learning.env_runner import Sampled
from slicing_rllib.learning.events import Event, EventKind
from slicing_rllib.learning.learner import CellUpdate, TD3Learner, UpdateRequest
from slicing_rllib.learning.replay import Replay
from slicing_rllib.learning.sampled_env import CellStates, SamplingSettings, Step
from slicing_rllib.learning.stacked_networks import NetworkSizes, ParameterBank, list_layer_shapes
from slicing_rllib.learning.stacked_td3 import Batch, Losses
from slicing_rllib.learning.td3_settings import TD3Settings
from slicing_rllib.random_streams import CellStreams, Stream, draw_normal, draw_uniform

TAG = "sample"
POLL_S = 0.5


class WorkerSampling:
    """At most one request is under way. Steps that were collected early wait for `take`."""

    def __init__(
        self, workers: Any, timeout_s: float, receive: Callable[[int, Sampled], None]
    ) -> None:
        """`workers` is RLlib's EnvRunnerGroup; `timeout_s` bounds the wait for one request.

        `receive` is called with the index and the answer of every env runner.
        """
        self._workers, self._timeout_s, self._receive = workers, timeout_s, receive
        self._n_requested = 0
        self._kept: list[Step] | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether steps were requested that nobody has taken yet."""
        return self._n_requested > 0 or self._kept is not None

    def request(self, steps: int, settings: SamplingSettings) -> None:
        """Let every healthy env runner sample so many steps; returns at once."""
        self._n_requested = self._workers.foreach_env_runner_async(
            lambda runner: runner.sample_and_report(steps, settings), tag=TAG
        )

    def take(self) -> list[Step]:
        """The requested steps, runner by runner, without those of runners that were lost."""
        steps = self._collect() if self._kept is None else self._kept
        self._kept = None
        return steps

    def keep(self) -> list[Step]:
        """Wait for steps that are under way, for a checkpoint; the next `take` returns them."""
        if self.is_under_way and self._kept is None:
            self._kept = self._collect()
        return list(self._kept or ())

    def restore(self, steps: list[Step] | None) -> None:
        """Put steps back that were kept in a checkpoint."""
        self._n_requested, self._kept = 0, steps or None

    def _collect(self) -> list[Step]:
        collected: dict[int, Sampled] = {}
        deadline = time.monotonic() + self._timeout_s
        while len(collected) < min(self._n_requested, self._workers.num_healthy_remote_workers()):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            collected |= dict(
                self._workers.fetch_ready_async_reqs(tags=TAG, timeout_seconds=min(left, POLL_S))
            )
        self._n_requested = 0
        for runner in sorted(collected):
            self._receive(runner, collected[runner])
        return [step for runner in sorted(collected) for step in collected[runner].steps]


ANSWER_TIMEOUT_S = 30.0


class _Home(NamedTuple):
    """Where an env runner runs."""

    node: str
    process: int


class WorkerHealth:
    """Notices env runners that are lost and those that were restarted.

    RLlib continues with fewer env runners without saying so; Ray restarts them on another node if
    there is room.
    """

    def __init__(self, workers: Any) -> None:
        """`workers` is RLlib's EnvRunnerGroup."""
        self._workers = workers
        self._homes: dict[int, _Home] = {}
        self._healthy: set[int] | None = None
        self._restarts = 0

    @property
    def nodes(self) -> dict[int, str]:
        """Node id of each env runner, as last known."""
        return {runner: home.node for runner, home in self._homes.items()}

    @property
    def lost(self) -> bool:
        """Whether no env runner answers although some were started."""
        return bool(self._healthy is not None and not self._workers.healthy_env_runner_ids())

    def check(self) -> Iterator[Event]:
        """Events for all that has changed since the last check.

        An env runner can be lost and back between two checks. Its process is another one then.
        """
        healthy = set(self._workers.healthy_env_runner_ids())
        is_first, before = self._healthy is None, self._healthy or set()
        back, stayed = sorted(healthy - before), sorted(healthy & before)
        restarts = self._workers.num_remote_worker_restarts()
        was_hidden = restarts - self._restarts > len(back)
        self._healthy, self._restarts = healthy, restarts
        found = self._find_homes([*back, *stayed] if was_hidden else back)
        replaced = [r for r in stayed if r in found and found[r] != self._homes.get(r)]
        for runner in sorted({*(before - healthy), *replaced}):
            yield self._report(
                EventKind.WORKER_LOST, runner, "is lost; training continues without it"
            )
        self._homes |= found
        for runner in () if is_first else sorted({*back, *replaced}):
            yield self._report(EventKind.WORKER_RESTARTED, runner, "was restarted")

    def _report(self, kind: EventKind, runner: int, what: str) -> Event:
        node = self.nodes.get(runner, "")
        message = f"env runner {runner} on node {node[:8]} {what}"
        return Event(kind, message, evidence={"worker": runner, "node": node})

    def _find_homes(self, runners: list[int]) -> dict[int, _Home]:
        if not runners:
            return {}
        return dict(
            self._workers.foreach_env_runner(
                lambda runner: (
                    runner.index,
                    _Home(ray.get_runtime_context().get_node_id(), os.getpid()),
                ),
                remote_worker_ids=runners,
                local_env_runner=False,
                timeout_seconds=ANSWER_TIMEOUT_S,
            )
        )


DISPATCH_BYTES = 32 * 2**20
"""Size of the collected batches at which they are sent to the learners."""
MAX_RETRIES = 3


class _Shard(NamedTuple):
    """Some rows of one of the learner's parts."""

    part: CellUpdate
    rows: slice
    """Rows of the part's bank."""
    indices: Any
    """The same cells in the order of all cells."""


class PackedRequests(NamedTuple):
    """Update requests of some cells, (update, cell, ...) arrays."""

    batch: tuple[np.ndarray, ...]
    paused: np.ndarray
    actors_held: np.ndarray
    numbers: np.ndarray
    """(update,)"""


class LearnerShards:
    """Collects updates, lets `n_learners` tasks make them, and takes the networks back."""

    def __init__(self, learner: TD3Learner, n_learners: int) -> None:
        """`learner` owns the networks between iterations."""
        self._learner, self._n_learners = learner, n_learners
        self._requests: list[UpdateRequest] = []
        self._bytes = 0
        self._frozen: Mapping[str, Sequence[str]] = {}
        self._network_refs: list[ray.ObjectRef] = []
        """Networks of each shard, while tasks have them."""
        self._loss_refs: list[list[ray.ObjectRef]] = []

    def submit(self, request: UpdateRequest, frozen: Mapping[str, Sequence[str]]) -> None:
        """Add one update; tasks start once enough bytes have been collected."""
        self._frozen = frozen
        self._requests.append(request)
        self._bytes += sum(array.nbytes for array in request.batch)
        if self._bytes >= DISPATCH_BYTES:
            self._dispatch()

    def finish(self) -> list[Losses]:
        """Wait for all tasks; afterwards the learner holds the same as if it had made the updates.

        Returns the losses of every update.
        """
        if self._requests:
            self._dispatch()
        if not self._network_refs:
            return []
        shards = self._split_cells()
        for shard, state in zip(shards, ray.get(self._network_refs), strict=True):
            shard.part.restore(state, shard.rows)
        losses = [
            np.concatenate(ray.get([chunk[index] for chunk in self._loss_refs]))
            for index in range(len(shards))
        ]
        self._network_refs, self._loss_refs = [], []
        return _merge_losses(losses, shards, len(self._learner.cell_order))

    def _dispatch(self) -> None:
        shards = self._split_cells()
        if not self._network_refs:
            self._network_refs = [ray.put(shard.part.state(shard.rows)) for shard in shards]
        losses = []
        for index, shard in enumerate(shards):
            self._network_refs[index], loss_ref = _update_remotely.remote(
                self._learner.settings,
                self._learner.counterfactual,
                shard.part.bank.sizes,
                shard.part.cells[shard.rows],
                self._frozen,
                self._network_refs[index],
                _pack_requests(self._requests, shard.indices),
            )
            losses.append(loss_ref)
        self._loss_refs.append(losses)
        self._requests, self._bytes = [], 0

    def _split_cells(self) -> list[_Shard]:
        """Every part's cells, evenly over the learners."""
        shards = []
        for part, where in self._learner.parts:
            all_indices = np.arange(len(self._learner.cell_order))[where]
            for rows in np.array_split(np.arange(len(part.cells)), self._n_learners):
                if len(rows):
                    own = slice(int(rows[0]), int(rows[-1]) + 1)
                    shards.append(_Shard(part, own, all_indices[own]))
        return shards


def _pack_requests(requests: Sequence[UpdateRequest], indices: np.ndarray) -> PackedRequests:
    own = [request.select(indices) for request in requests]
    return PackedRequests(
        tuple(np.stack(column) for column in zip(*(request.batch for request in own), strict=True)),
        np.stack([request.paused for request in own]),
        np.stack([request.actors_held for request in own]),
        np.array([request.number for request in own]),
    )


def _merge_losses(
    losses: Sequence[np.ndarray], shards: Sequence[_Shard], n_cells: int
) -> list[Losses]:
    """Losses of all cells, update by update; 0 where a cell has no module."""
    merged = torch.zeros(len(losses[0]), 2, n_cells)
    for values, shard in zip(losses, shards, strict=True):
        merged[:, :, shard.indices] = torch.tensor(values)
    return [Losses(critic, actor) for critic, actor in merged]


def update_cells(
    settings: TD3Settings,
    counterfactual: CounterfactualReward | None,
    sizes: NetworkSizes,
    cells: tuple[str, ...],
    frozen: Mapping[str, Sequence[str]],
    state: Mapping[str, np.ndarray],
    requests: PackedRequests,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Networks after these updates, and their losses (update, critic or actor, cell)."""
    torch.set_num_threads(1)
    update = CellUpdate(cells, ParameterBank(len(cells), sizes), settings, counterfactual)
    update.restore(state)
    update.freeze(frozen)
    losses = []
    for *batch, paused, held, number in zip(
        *requests.batch, requests.paused, requests.actors_held, requests.numbers, strict=True
    ):
        tensors = Batch(*(torch.tensor(array) for array in batch))
        request = UpdateRequest(tensors, paused, held, int(number))
        losses.append(torch.stack(update.update(request)).numpy())
    return update.state(), np.stack(losses)


# Ray finds the task's function by its module and name, so that no code has to travel.
_update_remotely: Any = ray.remote(num_cpus=1, num_returns=2, max_retries=MAX_RETRIES)(update_cells)


class UpdateLoop:
    """Owns the number of updates, and the random streams that depend on it."""

    def __init__(
        self,
        config: Any,
        cells: Sequence[str],
        replay: Replay,
        source_replay: Replay,
        cell_states: CellStates,
        learner: TD3Learner,
    ) -> None:
        """`replay` is the cells' experience, `source_replay` that of other cells kept apart.

        `config` is the algorithm's: its seed, batch size and number of learners count.
        """
        self._replay, self._source_replay = replay, source_replay
        self._cell_states, self._learner = cell_states, learner
        seed, batch = config.seed or 0, (config.batch_size,)
        action_size = replay.action_size
        self._batch_picks = CellStreams(seed, Stream.BATCH, cells, batch, draw_uniform)
        self._mixing = CellStreams(seed, Stream.MIXING, cells, (2, *batch), draw_uniform)
        self._smoothing = CellStreams(
            seed, Stream.SMOOTHING, cells, (*batch, action_size), draw_normal
        )
        self._shards = LearnerShards(learner, config.num_learners) if config.num_learners else None
        self.updates = 0
        """Updates so far; a cell that was not ready did not take part."""

    def update(self, ready: Bool[np.ndarray, " cell"]) -> list[Losses]:
        """One update of the cells that are ready; its losses, unless it is made elsewhere."""
        request = UpdateRequest(
            batch=self._sample_batch(),
            paused=~ready,
            actors_held=ready & (self._cell_states.actor_delay_updates > 0),
            number=self.updates,
        )
        self.updates += 1
        self._cell_states.count_update()
        if self._shards:
            self._shards.submit(request, self._cell_states.frozen_parameters)
            return []
        return [self._learner.update_stacked(request)]

    def finish(self) -> list[Losses]:
        """Wait for updates that other processes make; their losses."""
        return self._shards.finish() if self._shards else []

    def _sample_batch(self) -> Batch:
        """A batch per cell: its own experience, mixed with that of sources where asked for."""
        columns = list(self._replay.sample(self._batch_picks.at(self.updates))[:-1])
        share = np.where(self._source_replay.size > 0, self._cell_states.source_share, 0.0)
        if share.any():
            columns = self._mix_sources(columns, share)
        noise = self._smoothing.at(self.updates)
        return Batch(*map(torch.from_numpy, (*columns, noise)))

    def _mix_sources(self, own: Sequence[np.ndarray], share: np.ndarray) -> list[np.ndarray]:
        """Replace a random `share` of each cell's batch by transitions of its sources."""
        mixed, pick = self._mixing.at(self.updates).swapaxes(0, 1)
        from_sources = self._source_replay.sample(pick)
        chosen = mixed < share[:, None]
        return [
            np.where(chosen if a.ndim == 2 else chosen[..., None], b, a)
            for a, b in zip(own, from_sources[:-1], strict=True)
        ]


FEWEST_FLOPS_FOR_THREADS = 9.5e7
"""Floating-point operations of an update below which torch uses one thread. In smaller updates,
threads cost more than they gain: measured up to ten times as much on a busy machine. 48 cells of
the paper's networks are just above."""


def is_worth_threads(groups: Sequence[tuple[NetworkSizes, int]], batch_size: int) -> bool:
    """Whether more than one thread makes an update faster.

    Args:
        groups: The sizes of networks, and how many cells have networks of that size.
        batch_size: Transitions of each cell in an update.
    """
    total = sum(cells * count_update_flops(sizes, batch_size) for sizes, cells in groups)
    return total >= FEWEST_FLOPS_FOR_THREADS


def count_update_flops(sizes: NetworkSizes, batch_size: int) -> float:
    """Floating-point operations of one update of one cell, in its matrix products.

    Two per parameter and transition in each forward and each backward pass.
    """
    actor, critic = (
        sum(math.prod(shape) for shape in list_layer_shapes(widths).values())
        for widths in (sizes.actor, sizes.critic)
    )
    # Critics: two targets forward, two forward and backward. Actor: target, and itself.
    return 2.0 * batch_size * (8 * critic + 4 * actor)
