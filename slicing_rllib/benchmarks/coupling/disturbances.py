"""By how much a change of splits changes throughput and reward within the same step."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.benchmarks.rows import PERIOD_STEPS
from slicing_rllib.env import slice_reward
from slicing_rllib.policies.baselines import divide_in_proportion
from slicing_rllib.radio import Scenario, Simulator, StepKpis

PerSlice = Float[np.ndarray, "cell slice"]
Cells = Int[np.ndarray, " affected"]

STEPS_BETWEEN = 10
"""Steps from one change of splits to the next."""
EXACT = 1e-9
"""Tolerance of the load iteration. The effects may be smaller than the usual tolerance."""


class Disturbance(NamedTuple):
    """Mean absolute changes at the affected cells."""

    throughput: float
    """Relative change, over slices with active UEs."""
    reward: float


class Disturbances(NamedTuple):
    """Which cells change their split, and where the effect is measured."""

    own: Disturbance
    """One cell changes; measured at this cell."""
    one_cell: Disturbance
    """One cell changes; measured at its neighbours."""
    neighbours: Disturbance
    """All neighbours of a cell change; measured at this cell."""


def set_placement(scenario: Scenario, placement: str) -> Scenario:
    """Returns the scenario with another placement of PRBs: `contiguous` or `random`."""
    return replace(scenario, radio=replace(scenario.radio, placement=placement))


def measure_disturbances(
    scenario: Scenario,
    seed: int,
    changed_share: float,
    rng: np.random.Generator,
    *,
    steps: int = PERIOD_STEPS,
) -> Disturbances:
    """Returns the mean effect of changes to splits that otherwise follow demand.

    Args:
        scenario: The network.
        seed: Seed of movement and traffic.
        changed_share: Share of the carrier, in [0, 1], that a cell gives to a split drawn uniformly
            from all splits; 1 replaces the whole split.
        rng: Draws the cells that change, and their new splits.
        steps: Network steps to simulate; every STEPS_BETWEEN steps splits change once.
    """
    simulator = Simulator(scenario, seed, map_seed=0)
    found = []
    for step in range(steps):
        split = divide_in_proportion(simulator.demand_mbps)
        if step % STEPS_BETWEEN == 0:
            cell = int(rng.integers(len(split)))
            neighbours = scenario.neighbours[cell]
            neighbours = neighbours[neighbours >= 0]
            drawn = rng.dirichlet(np.ones(split.shape[1]), len(split))
            other = (1 - changed_share) * split + changed_share * drawn
            found.append(_compare_splits(simulator, split, other, cell, neighbours))
        simulator.step(split)
    means = np.array(found).mean(axis=0)
    return Disturbances(*(Disturbance(*map(float, pair)) for pair in means))


def compute_reward(scenario: Scenario, kpis: StepKpis) -> Float[np.ndarray, " cell"]:
    """Returns the reward of each cell. Source: the paper, eq. (2)."""
    return slice_reward(
        kpis.throughput_mbps, kpis.delay_ms, scenario.sla_throughput_mbps, scenario.sla_delay_ms
    )


def _compare_splits(
    simulator: Simulator, split: PerSlice, other: PerSlice, cell: int, neighbours: Cells
) -> list[Disturbance]:
    """Evaluates the step to come three times: unchanged, cell changed, neighbours changed."""
    own = np.array([cell])
    before = simulator.evaluate(split, tolerance=EXACT)
    after_one, after_all = (
        simulator.evaluate(_replace_rows(split, rows, other), tolerance=EXACT)
        for rows in (own, neighbours)
    )
    scenario = simulator.scenario
    return [
        _compute_change(scenario, before, after_one, own),
        _compute_change(scenario, before, after_one, neighbours),
        _compute_change(scenario, before, after_all, own),
    ]


def _replace_rows(split: PerSlice, rows: Cells, other: PerSlice) -> PerSlice:
    changed = split.copy()
    changed[rows] = other[rows]
    return changed


def _compute_change(
    scenario: Scenario, before: StepKpis, after: StepKpis, rows: Cells
) -> Disturbance:
    is_active = before.users[rows] > 0
    moved = np.abs(after.throughput_mbps[rows] / before.throughput_mbps[rows] - 1)
    reward = np.abs(compute_reward(scenario, after)[rows] - compute_reward(scenario, before)[rows])
    throughput = float(moved[is_active].mean()) if is_active.any() else 0.0
    return Disturbance(throughput, float(reward.mean()))
