"""Puts a warm start into a running algorithm; the other cells do not notice."""

import numpy as np

from slicing_rllib.learning.td3 import TD3
from slicing_rllib.transfer.settings import TransferSettings
from slicing_rllib.transfer.strategies import WarmStart


def apply(
    algorithm: TD3, cell: str, start: WarmStart, settings: TransferSettings, moments_of: str | None
) -> None:
    """Weights, optimiser, experience, and how the cell learns from here on.

    `moments_of` is the cell of this run whose Adam moments go with its weights, if any.
    """
    control, row = algorithm.cell_states, algorithm.cell_states.row(cell)
    algorithm.set_policy_weights(cell, start.weights)
    if moments_of is None or settings.reset_optimiser or not start.trained:
        algorithm.reset_optimizer(cell)
    else:
        algorithm.copy_optimizer(moments_of, cell)
    algorithm.freeze(cell, start.frozen)
    algorithm.explore(cell, algorithm.config.exploration_steps if start.explores else 0)
    algorithm.resume_updates(cell)
    control.actor_delay_updates[row] = settings.actor_delay_updates
    if settings.exploration_noise is not None:
        control.noise_sigma[row] = settings.exploration_noise
    _seed_experience(algorithm, cell, start, settings)


def _seed_experience(
    algorithm: TD3, cell: str, start: WarmStart, settings: TransferSettings
) -> None:
    control, row = algorithm.cell_states, algorithm.cell_states.row(cell)
    algorithm.source_replay.clear(cell)
    control.source_share[row] = 0.0
    if start.experience is None:
        return
    if settings.source_share is None:
        algorithm.replay.seed(cell, start.experience)
        return
    algorithm.source_replay.seed(cell, start.experience)
    control.source_share[row] = settings.source_share
    half_life = settings.source_share_half_life_updates
    control.source_share_decay[row] = 1.0 if half_life is None else float(np.exp2(-1.0 / half_life))
