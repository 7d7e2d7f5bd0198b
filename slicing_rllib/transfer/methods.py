"""What a target takes over from its sources: weights, eq. (4), experience, or both.

Every strategy has the same signature. It takes the target, the sources (the nearest first), the
settings and a random generator, and returns a `WarmStart`.

Puts a warm start into a running algorithm without touching any other cell.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from slicing_rllib.env import CounterfactualReward, needed_share, slice_reward
from slicing_rllib.learning.replay import Replay, Transitions
from slicing_rllib.learning.stacked_networks import NetworkSizes, ParameterBank
from slicing_rllib.learning.stacked_td3 import Batch, StackedTD3
from slicing_rllib.learning.td3 import TD3
from slicing_rllib.learning.td3_settings import TD3Settings
from slicing_rllib.transfer.transfer_settings import TransferSettings

OFFLINE_BATCH = 32
"""Transitions per update of offline training."""

PolicyWeights = Mapping[str, np.ndarray]
"""Arrays by parameter name: actor, both critics, and their targets."""
TransitionBatch = Transitions


class Sla(NamedTuple):
    """A cell's service level agreement."""

    throughput_mbps: Float[np.ndarray, " slice"]
    """Required throughput."""
    delay_ms: Float[np.ndarray, " slice"]
    """Largest permitted delay."""


class Source(NamedTuple):
    """A trained cell."""

    name: str
    weights: PolicyWeights
    experience: TransitionBatch
    """Newest transitions, oldest of them first."""
    distance: float
    """Distance from the target by the chosen measure."""


class Target(NamedTuple):
    """A cell that is to be warm-started."""

    name: str
    fresh: PolicyWeights
    """Random weights that it would start from without a source."""
    sla: Sla | None
    """None in an environment without SLAs; rewards are then not recomputed."""
    sizes: NetworkSizes
    """Widths of its networks and the form of its actor."""
    hyper: TD3Settings
    """Of offline training."""
    counterfactual: CounterfactualReward | None = None
    """The environment's counterfactual reward, if it offers one."""


class WarmStart(NamedTuple):
    """What the target starts with."""

    weights: PolicyWeights
    experience: TransitionBatch | None = None
    """Transitions for its replay buffer."""
    frozen: tuple[str, ...] = ()
    """Prefixes of the names of parameters that are not updated."""
    explores: bool = False
    """True: the target first acts at random for the configured number of steps."""
    is_trained: bool = True
    """True: the weights are a complete policy, which the guard compares with the default."""


Strategy = Callable[[Target, Sequence[Source], TransferSettings, np.random.Generator], WarmStart]


def start_from_scratch(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """`none`: random weights and no experience."""
    return WarmStart(target.fresh, explores=True, is_trained=False)


def copy_weights(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """`model`: all weights of the nearest source."""
    return WarmStart(sources[0].weights)


def copy_lower_layers(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """`feature`: the nearest source's lower layers, which are frozen; random upper layers."""
    # Activations take the odd places in each network, layers with parameters the even ones.
    layers = range(0, 2 * settings.frozen_layers, 2)
    networks = {name.split(".")[0] for name in target.fresh}
    frozen = tuple(f"{network}.{layer}." for network in sorted(networks) for layer in layers)
    weights = {
        name: sources[0].weights[name] if name.startswith(frozen) else fresh
        for name, fresh in target.fresh.items()
    }
    return WarmStart(weights, frozen=frozen, explores=True, is_trained=False)


def copy_experience(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """`instance`: the nearest source's experience; random weights."""
    experience = _take_newest(sources[0], target, settings)
    return WarmStart(target.fresh, experience, is_trained=False)


def copy_weights_and_experience(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """`integrated`: the nearest source's weights and experience. Source: the paper, sec. IV-C."""
    return WarmStart(sources[0].weights, _take_newest(sources[0], target, settings))


def copy_experience_of_several(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """`multi_source`: the nearest source's weights; experience of several, more of nearer ones."""
    taken = sources[: settings.n_sources]
    shares = compute_source_shares([source.distance for source in taken])
    counts = np.floor(settings.transferred_transitions * shares).astype(int).tolist()
    parts = [
        _take_newest(source, target, settings, count)
        for source, count in zip(taken, counts, strict=True)
    ]
    return WarmStart(sources[0].weights, _concatenate(parts))


def train_generalist(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """`generalist`: a policy trained offline on equal parts of every source's experience."""
    each = max(settings.transferred_transitions // len(sources), 1)
    joined = _concatenate([_take_newest(source, target, settings, each) for source in sources])
    weights = train_offline(target, joined, settings.generalist_updates, rng)
    return WarmStart(weights, joined)


STRATEGIES: dict[str, Strategy] = {
    "none": start_from_scratch,
    "model": copy_weights,
    "feature": copy_lower_layers,
    "instance": copy_experience,
    "integrated": copy_weights_and_experience,
    "generalist": train_generalist,
    "multi_source": copy_experience_of_several,
}
"""Strategy by the value of `transfer.method`."""


def relabel_rewards(experience: TransitionBatch, sla: Sla) -> TransitionBatch:
    """The same transitions with rewards of another SLA, by eq. (2).

    Raises: ValueError where the transitions do not contain each slice's throughput and delay.
    """
    n_slices = len(sla.delay_ms)
    if experience.outcome.shape[-1] != 2 * n_slices:
        raise ValueError(
            f"relabelling: expected {2 * n_slices} outcomes per transition, got "
            f"{experience.outcome.shape[-1]}"
        )
    throughput_mbps, delay_ms = np.split(experience.outcome.astype(np.float64), 2, axis=-1)
    reward = slice_reward(throughput_mbps, delay_ms, sla.throughput_mbps, sla.delay_ms)
    return experience._replace(
        reward=reward.astype(np.float32), feedback=_relabel_feedback(experience, sla)
    )


def _relabel_feedback(experience: TransitionBatch, sla: Sla) -> np.ndarray:
    """Offered shares as they were, needed shares for another SLA; nothing where there are none."""
    if not experience.feedback.shape[-1]:
        return experience.feedback
    throughput_mbps, delay_ms = np.split(experience.outcome.astype(np.float64), 2, axis=-1)
    offered, _ = np.split(experience.feedback.astype(np.float64), 2, axis=-1)
    action = experience.action.astype(np.float64)
    needed = needed_share(
        action, offered, throughput_mbps, delay_ms, sla.throughput_mbps, sla.delay_ms
    )
    return np.concatenate([offered, needed], axis=-1, dtype=np.float32)


def compute_source_shares(distances: Sequence[float]) -> Float[np.ndarray, " source"]:
    """Shares proportional to 1 / distance that sum to one.

    Sources at distance 0 share everything equally. Negative distances (minus a return) are first
    shifted so that the least is 0.
    """
    d = np.asarray(distances, np.float64)
    d = d - min(d.min(), 0.0)
    weight = (d == 0).astype(float) if (d == 0).any() else 1.0 / d
    return weight / weight.sum()


def train_offline(
    target: Target, experience: TransitionBatch, updates: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Weights after TD3 updates on given experience alone.

    Args:
        target: its random weights are the starting point.
        experience: transitions that batches are drawn from.
        updates: number of TD3 updates.
        rng: draws batches and the noise of the target policy.
    """
    n, obs_size = experience.obs.shape
    action_size = experience.action.shape[1]
    bank = ParameterBank(1, target.sizes)
    for name, view in bank.iterate_row(0):
        view.copy_(torch.from_numpy(np.asarray(target.fresh[name])))
    replay = Replay(
        (target.name,),
        obs_size,
        action_size,
        n,
        outcome_size=experience.outcome.shape[1],
        feedback_size=experience.feedback.shape[1],
    )
    replay.seed(target.name, experience)
    learner = StackedTD3(bank, target.hyper, target.counterfactual)
    shape = (1, OFFLINE_BATCH)
    for number in range(updates):
        sampled = replay.sample(rng.random(shape))[:-1]
        noise = rng.standard_normal((*shape, action_size), np.float32)
        batch = Batch(*map(torch.from_numpy, (*sampled, noise)))
        learner.update(batch, number)
    return {name: view.numpy().copy() for name, view in bank.iterate_row(0)}


def _take_newest(
    source: Source, target: Target, settings: TransferSettings, count: int | None = None
) -> TransitionBatch:
    """The source's newest transitions; where possible with rewards of the target's SLA."""
    n = settings.transferred_transitions if count is None else count
    begin = max(len(source.experience.reward) - n, 0)
    taken = Transitions(*(column[begin:] for column in source.experience))
    has_outcomes = taken.outcome.shape[-1] > 0
    if settings.relabel and has_outcomes and target.sla is not None:
        return relabel_rewards(taken, target.sla)
    return taken


def _concatenate(parts: Sequence[TransitionBatch]) -> TransitionBatch:
    return Transitions(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def apply_warm_start(
    algorithm: TD3,
    cell: str,
    start: WarmStart,
    settings: TransferSettings,
    optimiser_source: str | None,
) -> None:
    """Set the cell's weights, optimiser, exploration and experience.

    Args:
        algorithm: the running algorithm; only the state of `cell` changes.
        cell: the target.
        start: what the target takes over.
        settings: how the target learns from here on.
        optimiser_source: cell of the run whose weights `start` contains; its Adam moments can be
            copied with them. None: the moments start from zero.
    """
    states, row = algorithm.cell_states, algorithm.cell_states.row(cell)
    algorithm.set_policy_weights(cell, start.weights)
    if optimiser_source is None or settings.reset_optimiser or not start.is_trained:
        algorithm.reset_optimizer(cell)
    else:
        algorithm.copy_optimizer(optimiser_source, cell)
    algorithm.freeze(cell, start.frozen)
    from_scratch = algorithm.settings.exploration_steps
    algorithm.explore(cell, from_scratch if start.explores else settings.exploration_steps)
    algorithm.resume_updates(cell)
    states.actor_delay_updates[row] = settings.actor_delay_updates
    if settings.exploration_noise is not None:
        states.noise_sigma[row] = settings.exploration_noise
    _fill_replay(algorithm, cell, start, settings)


def _fill_replay(algorithm: TD3, cell: str, start: WarmStart, settings: TransferSettings) -> None:
    """Add the transferred transitions to the cell's own replay, or keep them apart from it."""
    states, row = algorithm.cell_states, algorithm.cell_states.row(cell)
    algorithm.source_replay.clear(cell)
    states.source_share[row] = 0.0
    if start.experience is None:
        return
    if settings.source_share is None:
        algorithm.replay.seed(cell, start.experience)
        return
    algorithm.source_replay.seed(cell, start.experience)
    states.source_share[row] = settings.source_share
    half_life = settings.source_share_half_life_updates
    states.source_share_decay[row] = 1.0 if half_life is None else float(np.exp2(-1.0 / half_life))


def restore_initial_policy(algorithm: TD3, cell: str) -> None:
    """Give a cell back the weights that it started from, with a fresh optimiser."""
    algorithm.set_policy_weights(cell, algorithm.fresh_weights(cell, 0))
    algorithm.reset_optimizer(cell)
