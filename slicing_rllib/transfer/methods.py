"""What a target takes over from its sources: weights, eq. (4), experience, or both.

A method makes a `WarmStart` of a `Transfer`; `registry.KINDS` names them.
`apply_warm_start` puts the result into the running algorithm.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from slicing_rllib.env import CounterfactualReward, needed_share, slice_reward
from slicing_rllib.env.response_curves import replace_sla
from slicing_rllib.learning.replay import Replay, Transitions
from slicing_rllib.learning.response_critic import build_stacked, select_batch_fields
from slicing_rllib.learning.stacked_networks import NetworkSizes, ParameterBank
from slicing_rllib.learning.stacked_td3 import Batch
from slicing_rllib.learning.td3 import TD3
from slicing_rllib.policies.td3_settings import TD3Settings
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
    """None in an environment without SLAs, or with an own reward; none is then recomputed."""
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


class Transfer(NamedTuple):
    """What a method makes a warm start of."""

    target: Target
    sources: Sequence[Source]
    """The nearest first; the method `none` alone needs no source."""
    settings: TransferSettings
    rng: np.random.Generator

    def take_experience(self, source: Source, count: int | None = None) -> TransitionBatch:
        """The newest transitions of a source; where possible with rewards of the target's SLA."""
        taken = take_newest(
            source.experience, self.settings.transferred_transitions if count is None else count
        )
        has_reward_inputs = taken.reward_inputs.shape[-1] > 0
        if not (self.settings.relabel and has_reward_inputs and self.target.sla is not None):
            return taken
        relabelled = relabel_rewards(taken, self.target.sla)
        if self.target.hyper.critic != "per_slice":
            return relabelled
        # Critics per slice read levels from observations, which contain the SLA.
        obs, next_obs = (replace_sla(own, *self.target.sla) for own in (taken.obs, taken.next_obs))
        return relabelled._replace(obs=obs, next_obs=next_obs)


Method = Callable[[Transfer], WarmStart]
"""What `transfer.method` names."""


def start_from_scratch(transfer: Transfer) -> WarmStart:
    """`none`: random weights and no experience."""
    return WarmStart(transfer.target.fresh, explores=True, is_trained=False)


def copy_weights(transfer: Transfer) -> WarmStart:
    """`model`: all weights of the nearest source."""
    return WarmStart(transfer.sources[0].weights)


def copy_lower_layers(transfer: Transfer) -> WarmStart:
    """`feature`: the nearest source's lower layers, which are frozen; random upper layers."""
    own, nearest = transfer.target.fresh, transfer.sources[0].weights
    # Activations take the odd places in each network, layers with parameters the even ones.
    layers = range(0, 2 * transfer.settings.frozen_layers, 2)
    networks = sorted({name.split(".")[0] for name in own})
    frozen = tuple(f"{network}.{layer}." for network in networks for layer in layers)
    weights = {n: nearest[n] if n.startswith(frozen) else fresh for n, fresh in own.items()}
    return WarmStart(weights, frozen=frozen, explores=True, is_trained=False)


def copy_experience(transfer: Transfer) -> WarmStart:
    """`instance`: the nearest source's experience; random weights."""
    experience = transfer.take_experience(transfer.sources[0])
    return WarmStart(transfer.target.fresh, experience, is_trained=False)


def copy_weights_and_experience(transfer: Transfer) -> WarmStart:
    """`integrated`: the nearest source's weights and experience. Source: the paper, sec. IV-C."""
    nearest = transfer.sources[0]
    return WarmStart(nearest.weights, transfer.take_experience(nearest))


def copy_experience_of_several(transfer: Transfer) -> WarmStart:
    """`multi_source`: the nearest source's weights; experience of several, more of nearer ones."""
    taken = transfer.sources[: transfer.settings.n_sources]
    shares = compute_source_shares([source.distance for source in taken])
    counts = np.floor(transfer.settings.transferred_transitions * shares).astype(int).tolist()
    parts = map(transfer.take_experience, taken, counts)
    return WarmStart(taken[0].weights, _concatenate(parts))


def train_generalist(transfer: Transfer) -> WarmStart:
    """`generalist`: a policy trained offline on equal parts of every source's experience."""
    target, sources, settings, rng = transfer
    each = max(settings.transferred_transitions // len(sources), 1)
    joined = _concatenate(transfer.take_experience(source, each) for source in sources)
    return WarmStart(train_offline(target, joined, settings.generalist_updates, rng), joined)


def relabel_rewards(experience: TransitionBatch, sla: Sla) -> TransitionBatch:
    """The same transitions with rewards of another SLA, by eq. (2).

    Counterfactual inputs, where there are any, keep the offered shares and get the shares that the
    other SLA needs.

    Raises: ValueError where the transitions do not contain each slice's throughput and delay.
    """
    n_slices = len(sla.delay_ms)
    if experience.reward_inputs.shape[-1] != 2 * n_slices:
        raise ValueError(
            f"relabelling: expected {2 * n_slices} reward inputs per transition, got "
            f"{experience.reward_inputs.shape[-1]}"
        )
    throughput_mbps, delay_ms = np.split(experience.reward_inputs.astype(np.float64), 2, axis=-1)
    reward = slice_reward(throughput_mbps, delay_ms, *sla)
    counterfactual = experience.counterfactual_inputs
    if counterfactual.shape[-1]:
        offered, _ = np.split(counterfactual.astype(np.float64), 2, axis=-1)
        action = experience.action.astype(np.float64)
        needed = needed_share(action, offered, throughput_mbps, delay_ms, *sla)
        counterfactual = np.concatenate([offered, needed], axis=-1, dtype=np.float32)
    return experience._replace(
        reward=reward.astype(np.float32), counterfactual_inputs=counterfactual
    )


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
    """The target's random weights after TD3 updates on given experience alone.

    `rng` draws batches and the noise of the target policy.
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
    learner = build_stacked(bank, target.hyper, target.counterfactual)
    shape = (1, OFFLINE_BATCH)
    for number in range(updates):
        sampled = select_batch_fields(replay.sample(rng.random(shape)), target.hyper)
        noise = rng.standard_normal((*shape, action_size), np.float32)
        batch = Batch(*map(torch.from_numpy, (*sampled, noise)))
        learner.update(batch, number)
    return {name: view.numpy().copy() for name, view in bank.iterate_row(0)}


def take_newest(experience: TransitionBatch, n: int) -> TransitionBatch:
    """The `n` newest transitions, or all if there are fewer."""
    begin = max(len(experience.reward) - n, 0)
    return Transitions(*(field[begin:] for field in experience))


def _concatenate(parts: Iterable[TransitionBatch]) -> TransitionBatch:
    return Transitions(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))


def apply_warm_start(
    algorithm: TD3,
    cell: str,
    start: WarmStart,
    settings: TransferSettings,
    optimiser_source: str | None,
) -> None:
    """Set the cell's weights, optimiser, exploration and experience, and nothing else.

    `optimiser_source` is the cell of the run whose weights `start` contains; its Adam moments can
    be copied with them. None: the moments start from zero.
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
    # Transferred transitions go into the cell's own replay buffer, or stay apart from it.
    algorithm.source_replay.clear(cell)
    states.source_share[row] = 0.0
    if start.experience is not None and settings.source_share is None:
        algorithm.replay.seed(cell, start.experience)
    elif start.experience is not None:
        algorithm.source_replay.seed(cell, start.experience)
        states.source_share[row] = settings.source_share
        half_life = settings.source_share_half_life_updates
        states.source_share_decay[row] = 1.0 if half_life is None else np.exp2(-1.0 / half_life)
