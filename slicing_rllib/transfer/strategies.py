"""What a target takes over from its sources: pi_k^(0) = Lambda(pi_i), and instances Gamma: eq. (4).

Every strategy has one interface: sources, nearest first, in; a `WarmStart` out.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from slicing_rllib.env import ActorForm, slice_reward
from slicing_rllib.learning.parameter_bank import NetworkSizes, ParameterBank
from slicing_rllib.learning.replay import Replay, Transitions
from slicing_rllib.learning.stacked_td3 import Batch, Hyperparameters, StackedTD3
from slicing_rllib.transfer.settings import TransferSettings

PolicyWeights = Mapping[str, np.ndarray]
TransitionBatch = Transitions


class Sla(NamedTuple):
    """What a cell promises, per slice."""

    throughput_mbps: Float[np.ndarray, " slice"]
    delay_ms: Float[np.ndarray, " slice"]


class Source(NamedTuple):
    """A trained cell."""

    name: str
    weights: PolicyWeights
    experience: TransitionBatch
    distance: float


class Target(NamedTuple):
    """A cell that is to learn."""

    name: str
    fresh: PolicyWeights
    """Random weights, as it would start with by itself."""
    sla: Sla | None
    hyper: Hyperparameters


class WarmStart(NamedTuple):
    """What the target begins with."""

    weights: PolicyWeights
    experience: TransitionBatch | None = None
    frozen: tuple[str, ...] = ()
    """Beginnings of the names of parameters that stay as they are."""
    explores: bool = False
    """It has nothing to learn from yet, and acts at random first."""
    trained: bool = True
    """Its weights are meant to serve well from the first step, and are held to it."""


Strategy = Callable[[Target, Sequence[Source], TransferSettings, np.random.Generator], WarmStart]


def none(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """Learning from scratch."""
    return WarmStart(target.fresh, explores=True, trained=False)


def model(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """All weights of the nearest source."""
    return WarmStart(sources[0].weights)


def feature(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """Its lower layers, which then stay as they are; the others afresh."""
    layers = range(0, 2 * settings.frozen_layers, 2)
    networks = {name.split(".")[0] for name in target.fresh}
    frozen = tuple(f"{network}.{layer}." for network in sorted(networks) for layer in layers)
    weights = {
        name: sources[0].weights[name] if name.startswith(frozen) else fresh
        for name, fresh in target.fresh.items()
    }
    return WarmStart(weights, frozen=frozen, explores=True, trained=False)


def instance(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """Its experience alone, under fresh weights."""
    experience = _newest(sources[0], target, settings)
    return WarmStart(target.fresh, experience, trained=False)


def integrated(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """Weights and experience of the nearest source. Source: the paper, sec. IV-C."""
    return WarmStart(sources[0].weights, _newest(sources[0], target, settings))


def multi_source(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """Weights of the nearest, experience of several: the nearer, the more."""
    taken = sources[: settings.n_sources]
    shares = closeness([source.distance for source in taken])
    counts = np.floor(settings.transferred_transitions * shares).astype(int).tolist()
    parts = [
        _newest(source, target, settings, count)
        for source, count in zip(taken, counts, strict=True)
    ]
    return WarmStart(sources[0].weights, _joined(parts))


def generalist(
    target: Target, sources: Sequence[Source], settings: TransferSettings, rng: np.random.Generator
) -> WarmStart:
    """One policy for all, learnt from everybody's experience as if it were the target's."""
    each = max(settings.transferred_transitions // len(sources), 1)
    joined = _joined([_newest(source, target, settings, each) for source in sources])
    weights = learnt_offline(target, joined, settings.generalist_updates, rng)
    return WarmStart(weights, joined)


STRATEGIES: dict[str, Strategy] = {
    "none": none,
    "model": model,
    "feature": feature,
    "instance": instance,
    "integrated": integrated,
    "generalist": generalist,
    "multi_source": multi_source,
}


def relabelled(experience: TransitionBatch, sla: Sla) -> TransitionBatch:
    """The same steps, rewarded by another cell's SLA: eq. (2) again.

    Raises: ValueError where the experience does not say what its rewards were made of.
    """
    n_slices = len(sla.delay_ms)
    if experience.outcome.shape[-1] != 2 * n_slices:
        raise ValueError(
            f"relabelling: expected {2 * n_slices} outcomes per transition, got "
            f"{experience.outcome.shape[-1]}"
        )
    throughput_mbps, delay_ms = np.split(experience.outcome.astype(np.float64), 2, axis=-1)
    reward = slice_reward(throughput_mbps, delay_ms, sla.throughput_mbps, sla.delay_ms)
    return experience._replace(reward=reward.astype(np.float32))


def closeness(distances: Sequence[float]) -> Float[np.ndarray, " source"]:
    """Shares that sum to one, each in proportion to 1 / distance; all of it to those at zero."""
    d = np.asarray(distances, np.float64)
    d = d - min(d.min(), 0.0)
    weight = (d == 0).astype(float) if (d == 0).any() else 1.0 / d
    return weight / weight.sum()


def learnt_offline(
    target: Target, experience: TransitionBatch, updates: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """TD3 on experience alone, from fresh weights."""
    n, obs_size = experience.obs.shape
    action_size = experience.action.shape[1]
    bank = ParameterBank(1, _sizes(target.fresh, obs_size, action_size))
    for name, view in bank.iterate_row(0):
        view.copy_(torch.from_numpy(np.asarray(target.fresh[name])))
    replay = Replay((target.name,), obs_size, action_size, n, experience.outcome.shape[1])
    replay.seed(target.name, experience)
    learner, shape = StackedTD3(bank, target.hyper), (1, 32)
    for number in range(updates):
        sampled = replay.sample(rng.random(shape))[:5]
        noise = rng.standard_normal((*shape, action_size), np.float32)
        batch = Batch(*map(torch.from_numpy, (*sampled, noise)))
        learner.update(batch, target.hyper.plan_update(number))
    return {name: view.numpy().copy() for name, view in bank.iterate_row(0)}


def _sizes(weights: PolicyWeights, obs_size: int, action_size: int) -> NetworkSizes:
    def widths(network: str, fan_in: int) -> tuple[int, ...]:
        layers = sorted(
            int(name.split(".")[1])
            for name in weights
            if name.startswith(f"{network}.") and name.endswith("weight")
        )
        return (fan_in, *(len(weights[f"{network}.{layer}.weight"]) for layer in layers))

    return NetworkSizes(
        widths("actor", obs_size),
        widths("critic_1", obs_size + action_size),
        ActorForm(action_size),
    )


def _newest(
    source: Source, target: Target, settings: TransferSettings, count: int | None = None
) -> TransitionBatch:
    """The source's newest transitions, with the target's rewards where these can be known."""
    n = settings.transferred_transitions if count is None else count
    begin = max(len(source.experience.reward) - n, 0)
    taken = Transitions(*(column[begin:] for column in source.experience))
    known = taken.outcome.shape[-1] > 0 and target.sla is not None
    return relabelled(taken, target.sla) if settings.relabel and known and target.sla else taken


def _joined(parts: Sequence[TransitionBatch]) -> TransitionBatch:
    return Transitions(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
