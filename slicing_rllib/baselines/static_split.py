"""The best constant split, fitted on separate traffic."""

import numpy as np
from jaxtyping import Float

from slicing_rllib.baselines.closed_form import needed_service
from slicing_rllib.baselines.heuristics import Static
from slicing_rllib.baselines.oracle import best_response
from slicing_rllib.radio import Scenario, Simulator
from slicing_rllib.radio.queueing import served_share

PerSlice = Float[np.ndarray, "cell slice"]

FIT_STEPS = 250
"""Number of steps of the traffic on which splits are fitted."""
CANDIDATES = 512
"""Number of random splits per cell and round of the search."""
CONCENTRATIONS = (0.0, 30.0, 300.0)
"""Dirichlet concentration around the best split so far, per round of the search."""


def fit_static(scenario: Scenario, rng: np.random.Generator, *, map_seed: int) -> Static:
    """The constant split of each cell with the highest mean reward over `FIT_STEPS` steps.

    `rng` draws the seed of the traffic and the candidates. The interference is that of a network in
    which `best_response` decides. The search draws random splits, keeps the best, and draws again
    around it.
    """
    required, needed = _record_needs(scenario, int(rng.integers(2**31)), map_seed)
    best = np.stack(
        [_search_split(required[:, k], needed[:, k], rng) for k in range(len(scenario.cells))]
    )
    return Static(best)


def _record_needs(
    scenario: Scenario, seed: int, map_seed: int
) -> tuple[Float[np.ndarray, "step cell slice"], Float[np.ndarray, "step cell slice"]]:
    """Required and needed share of each slice in each step of a network run by `best_response`."""
    simulator = Simulator(scenario, seed, map_seed=map_seed)
    split = np.full((len(scenario.cells), scenario.n_slices), 1.0 / scenario.n_slices)
    required: list[PerSlice] = []
    needed: list[PerSlice] = []
    for _ in range(FIT_STEPS):
        split = best_response(simulator.evaluate(split), scenario)
        kpis = simulator.step(split)
        required.append(kpis.required_share)
        needed.append(needed_service(kpis, scenario))
    return np.stack(required), np.stack(needed)


def _search_split(
    required: Float[np.ndarray, "step slice"],
    needed: Float[np.ndarray, "step slice"],
    rng: np.random.Generator,
) -> Float[np.ndarray, " slice"]:
    n_slices = required.shape[1]
    best = np.full(n_slices, 1.0 / n_slices)
    for concentration in CONCENTRATIONS:
        drawn = rng.dirichlet(1.0 + concentration * best, CANDIDATES)
        candidates = np.concatenate([best[None], drawn])
        best = candidates[_compute_mean_level(candidates, required, needed).argmax()]
    return best


def _compute_mean_level(
    candidates: Float[np.ndarray, "candidate slice"],
    required: Float[np.ndarray, "step slice"],
    needed: Float[np.ndarray, "step slice"],
) -> Float[np.ndarray, " candidate"]:
    """Mean over steps of min over slices of min(served share / needed share, 1): the reward."""
    total = np.zeros(len(candidates))
    for required_now, needed_now in zip(required, needed, strict=True):
        served = served_share(candidates, np.broadcast_to(required_now, candidates.shape))
        with np.errstate(divide="ignore", invalid="ignore"):
            level = np.where(needed_now > 0.0, served / needed_now, 1.0)
        total += np.minimum(level.min(axis=1), 1.0)
    return total / len(required)
