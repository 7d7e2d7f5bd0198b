"""The best split that never changes, found on traffic of its own."""

import numpy as np
from jaxtyping import Float

from slicing_rllib.baselines.closed_form import needed_service
from slicing_rllib.baselines.heuristics import Static
from slicing_rllib.baselines.oracle import best_response
from slicing_rllib.radio import Scenario, Simulator
from slicing_rllib.radio.queueing import served_share

FIT_STEPS = 250
CANDIDATES = 512
"""Splits tried per cell and round."""
CONCENTRATIONS = (0.0, 30.0, 300.0)
"""Dirichlet concentration of each round of the search, around the best split so far."""


def fit_static(scenario: Scenario, rng: np.random.Generator, *, map_seed: int) -> Static:
    """The split of each cell with the highest mean reward over `FIT_STEPS` of fresh traffic.

    Interference is that of a network run by the oracle. The search draws splits, keeps the best,
    and draws again around it.
    """
    required, needed = _trace(scenario, int(rng.integers(2**31)), map_seed)
    best = np.stack(
        [_search(required[:, k], needed[:, k], rng) for k in range(len(scenario.cells))]
    )
    return Static(best)


def _trace(
    scenario: Scenario, seed: int, map_seed: int
) -> tuple[Float[np.ndarray, "step cell slice"], Float[np.ndarray, "step cell slice"]]:
    """What each slice requires and needs, step by step, in a network that the oracle runs."""
    simulator = Simulator(scenario, seed, map_seed=map_seed)
    split = np.full((len(scenario.cells), scenario.n_slices), 1.0 / scenario.n_slices)
    required, needed = [], []
    for _ in range(FIT_STEPS):
        split = best_response(simulator.evaluate(split), scenario)
        kpis = simulator.step(split)
        required.append(kpis.required_share)
        needed.append(needed_service(kpis, scenario))
    return np.stack(required), np.stack(needed)


def _search(
    required: Float[np.ndarray, "step slice"],
    needed: Float[np.ndarray, "step slice"],
    rng: np.random.Generator,
) -> Float[np.ndarray, " slice"]:
    n_slices = required.shape[1]
    best = np.full(n_slices, 1.0 / n_slices)
    for concentration in CONCENTRATIONS:
        drawn = rng.dirichlet(1.0 + concentration * best, CANDIDATES)
        candidates = np.concatenate([best[None], drawn])
        best = candidates[_mean_level(candidates, required, needed).argmax()]
    return best


def _mean_level(
    candidates: Float[np.ndarray, "candidate slice"],
    required: Float[np.ndarray, "step slice"],
    needed: Float[np.ndarray, "step slice"],
) -> Float[np.ndarray, " candidate"]:
    """Mean over steps of the worst slice's served over needed share, at most 1: the reward."""
    total = np.zeros(len(candidates))
    for required_now, needed_now in zip(required, needed, strict=True):
        served = served_share(candidates, np.broadcast_to(required_now, candidates.shape))
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.where(needed_now > 0.0, served / needed_now, 1.0)
        total += np.minimum(level.min(axis=1), 1.0)
    return total / len(required)
