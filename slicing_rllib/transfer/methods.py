"""What a target takes over from its sources: weights, eq. (4), experience, or both.

Every method has the same signature. It takes the target, the sources (the nearest first), the
settings and a random generator, and returns a `WarmStart`. `transfer_settings.METHODS` names them.
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


Method = Callable[[Target, Sequence[Source], TransferSettings, np.random.Generator], WarmStart]
"""A value of `transfer_settings.METHODS`, imported."""


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
    experience = _select_experience(sources[0], target, settings)
    return WarmStart(target.fresh, experience, is_trained=False)


def copy_weights_and_experience(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """`integrated`: the nearest source's weights and experience. Source: the paper, sec. IV-C."""
    return WarmStart(sources[0].weights, _select_experience(sources[0], target, settings))


def copy_experience_of_several(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """`multi_source`: the nearest source's weights; experience of several, more of nearer ones."""
    taken = sources[: settings.n_sources]
    shares = compute_source_shares([source.distance for source in taken])
    counts = np.floor(settings.transferred_transitions * shares).astype(int).tolist()
    parts = [
        _select_experience(source, target, settings, count)
        for source, count in zip(taken, counts, strict=True)
    ]
    return WarmStart(sources[0].weights, _concatenate(parts))


def train_generalist(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """`generalist`: a policy trained offline on equal parts of every source's experience."""
    each = max(settings.transferred_transitions // len(sources), 1)
    joined = _concatenate(
        [_select_experience(source, target, settings, each) for source in sources]
    )
    weights = train_offline(target, joined, settings.generalist_updates, rng)
    return WarmStart(weights, joined)


def relabel_rewards(experience: TransitionBatch, sla: Sla) -> TransitionBatch:
    """The same transitions with rewards of another SLA, by eq. (2).

    Raises: ValueError where the transitions do not contain each slice's throughput and delay.
    """
    n_slices = len(sla.delay_ms)
    if experience.reward_inputs.shape[-1] != 2 * n_slices:
        raise ValueError(
            f"relabelling: expected {2 * n_slices} reward inputs per transition, got "
            f"{experience.reward_inputs.shape[-1]}"
        )
    throughput_mbps, delay_ms = np.split(experience.reward_inputs.astype(np.float64), 2, axis=-1)
    reward = slice_reward(throughput_mbps, delay_ms, sla.throughput_mbps, sla.delay_ms)
    return experience._replace(
        reward=reward.astype(np.float32),
        counterfactual_inputs=_relabel_counterfactual_inputs(experience, sla),
    )


def _relabel_counterfactual_inputs(experience: TransitionBatch, sla: Sla) -> np.ndarray:
    """Offered shares as they were, needed shares for another SLA; nothing where there are none."""
    if not experience.counterfactual_inputs.shape[-1]:
        return experience.counterfactual_inputs
    throughput_mbps, delay_ms = np.split(experience.reward_inputs.astype(np.float64), 2, axis=-1)
    offered, _ = np.split(experience.counterfactual_inputs.astype(np.float64), 2, axis=-1)
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
        reward_inputs_size=experience.reward_inputs.shape[1],
        counterfactual_inputs_size=experience.counterfactual_inputs.shape[1],
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


def take_newest(experience: TransitionBatch, n: int) -> TransitionBatch:
    """The `n` newest transitions, or all if there are fewer."""
    begin = max(len(experience.reward) - n, 0)
    return Transitions(*(field[begin:] for field in experience))


def _select_experience(
    source: Source, target: Target, settings: TransferSettings, count: int | None = None
) -> TransitionBatch:
    """The source's newest transitions; where possible with rewards of the target's SLA."""
    n = settings.transferred_transitions if count is None else count
    taken = take_newest(source.experience, n)
    has_reward_inputs = taken.reward_inputs.shape[-1] > 0
    if settings.relabel and has_reward_inputs and target.sla is not None:
        return relabel_rewards(taken, target.sla)
    return taken


def _concatenate(parts: Sequence[TransitionBatch]) -> TransitionBatch:
    return Transitions(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
