"""Puts a warm start into a running algorithm without touching any other cell."""

import numpy as np

from slicing_rllib.learning.td3 import TD3
from slicing_rllib.transfer.settings import TransferSettings
from slicing_rllib.transfer.strategies import WarmStart


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
    from_scratch = algorithm.config.exploration_steps
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
