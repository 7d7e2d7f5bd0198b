"""How much cells disturb each other through their actions, and what a message about it is worth.

Two questions, both answered on equal seeds under `contiguous` and `random` placement:

- One cell, or all neighbours of a cell, take another split. By how much do the throughput and the
  reward of whom it concerns change, within the same step?
- A forecaster sees a cell's own last step and predicts its next, with or without the neighbours'
  load; the closed-form optimum for the forecast is played. How much more reward is the message
  worth? So that this is not asked of a forecaster that cannot use it, the message of the step to be
  decided, which nobody can have, is tried as well.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from slicing_rllib.baselines.closed_form import max_min_split, needed_service
from slicing_rllib.baselines.heuristics import in_proportion
from slicing_rllib.env import slice_reward
from slicing_rllib.env.observation import Message, make_message
from slicing_rllib.evaluation.statistics import Interval, seed_interval
from slicing_rllib.radio import Scenario, Simulator, StepKpis, built_in

Row = dict[str, float | str | int]
PerSlice = Float[np.ndarray, "cell slice"]
PerSeed = Float[np.ndarray, " seed"]
Decide = Callable[[Simulator, StepKpis], PerSlice]

STEPS = 200
"""Per seed: one period of the mask."""
EVERY_STEPS = 10
"""Between two disturbances."""
EXACT = 1e-9
"""Tolerance of loads: what is compared may differ by less than a usual step's tolerance."""
TRAINING_SEEDS = tuple(range(2000, 2010))
PENALTY = 1e-3
"""Of the ridge regression, per sample; features are of order one."""
PLACEMENTS = ("contiguous", "random")
CHANGES = {"any_split": 1.0, "tenth": 0.1}
"""How much of its carrier a cell divides otherwise."""
MESSAGES = ("mean_load", "per_neighbour", "foreseen")


class Disturbance(NamedTuple):
    """Mean absolute changes of whom a change of splits concerns."""

    throughput: float
    """Relative, over slices with active UEs."""
    reward: float


class Disturbances(NamedTuple):
    """Who changes its split, and upon whom that is felt."""

    own: Disturbance
    """One cell, upon itself."""
    one_cell: Disturbance
    """One cell, upon its neighbours."""
    neighbours: Disturbance
    """All neighbours of a cell, upon the cell."""


def placed(scenario: Scenario, placement: str) -> Scenario:
    """The scenario with its slices' PRBs lying otherwise."""
    return replace(scenario, radio=replace(scenario.radio, placement=placement))


def disturbances(
    scenario: Scenario, seed: int, changed: float, rng: np.random.Generator
) -> Disturbances:
    """Means over a period of traffic, splits in proportion to demand but for the one that changes.

    Of that, a share `changed` gives way to a split drawn evenly from all splits.
    """
    simulator = Simulator(scenario, seed, map_seed=0)
    found = []
    for step in range(STEPS):
        split = in_proportion(simulator.demand_mbps)
        if step % EVERY_STEPS == 0:
            cell = int(rng.integers(len(split)))
            neighbours = scenario.neighbours[cell]
            neighbours = neighbours[neighbours >= 0]
            drawn = rng.dirichlet(np.ones(split.shape[1]), len(split))
            other = (1 - changed) * split + changed * drawn
            found.append(_disturbed(simulator, split, other, cell, neighbours))
        simulator.step(split)
    means = np.array(found).mean(axis=0)
    return Disturbances(*(Disturbance(*map(float, pair)) for pair in means))


def _disturbed(
    simulator: Simulator,
    split: PerSlice,
    other: PerSlice,
    cell: int,
    neighbours: np.ndarray,
) -> list[Disturbance]:
    before = simulator.evaluate(split, tolerance=EXACT)
    after_one, after_all = (
        simulator.evaluate(_with(split, rows, other), tolerance=EXACT)
        for rows in (np.array([cell]), neighbours)
    )
    scenario = simulator.scenario
    return [
        _change(scenario, before, after_one, np.array([cell])),
        _change(scenario, before, after_one, neighbours),
        _change(scenario, before, after_all, np.array([cell])),
    ]


def _with(split: PerSlice, rows: np.ndarray, other: PerSlice) -> PerSlice:
    changed = split.copy()
    changed[rows] = other[rows]
    return changed


def _change(scenario: Scenario, before: StepKpis, after: StepKpis, rows: np.ndarray) -> Disturbance:
    some = before.users[rows] > 0
    moved = np.abs(after.throughput_mbps[rows] / before.throughput_mbps[rows] - 1)
    reward = np.abs(reward_of(scenario, after)[rows] - reward_of(scenario, before)[rows])
    return Disturbance(float(moved[some].mean()) if some.any() else 0.0, float(reward.mean()))


def reward_of(scenario: Scenario, kpis: StepKpis) -> Float[np.ndarray, " cell"]:
    """Eq. (2)."""
    return slice_reward(
        kpis.throughput_mbps, kpis.delay_ms, scenario.sla_throughput_mbps, scenario.sla_delay_ms
    )


@dataclass(frozen=True)
class Forecaster:
    """Plays the closed-form optimum for the next step as a linear forecast has it.

    Forecast are changes of required share and needed service, cell by cell, from the last step's
    required shares, needed service, users and loads, and from what else the cell is told.
    """

    scenario: Scenario
    told: Decide
    """What else, per cell."""
    weights: Float[np.ndarray, "cell feature target"]

    def __call__(self, simulator: Simulator, kpis: StepKpis) -> PerSlice:
        last = _targets(self.scenario, kpis)
        features = _features(self.scenario, kpis, self.told(simulator, kpis))
        change = np.einsum("cf,cft->ct", features, self.weights)
        # Never below a tenth of the last step's: a forecast of nothing would starve the slice.
        required, needed = np.split(np.maximum(last + change, 0.1 * last), 2, axis=1)
        return max_min_split(required, needed)


def persistence(scenario: Scenario, _: Simulator, kpis: StepKpis) -> PerSlice:
    """The closed-form optimum for the last step."""
    return max_min_split(kpis.required_share, needed_service(kpis, scenario))


def fitted(scenario: Scenario, told: Decide, seeds: Sequence[int]) -> Forecaster:
    """Ridge regression on what persistence sees."""
    features, changes = [], []
    for seed in seeds:
        simulator = Simulator(scenario, seed, map_seed=0)
        kpis = simulator.step(np.ones((len(scenario.cells), scenario.n_slices)))
        for _ in range(STEPS - 1):
            features.append(_features(scenario, kpis, told(simulator, kpis)))
            last = _targets(scenario, kpis)
            kpis = simulator.step(persistence(scenario, simulator, kpis))
            changes.append(_targets(scenario, kpis) - last)
    x, y = np.stack(features, axis=1), np.stack(changes, axis=1)
    square = np.swapaxes(x, 1, 2) @ x + PENALTY * x.shape[1] * np.eye(x.shape[2])
    return Forecaster(scenario, told, np.linalg.solve(square, np.swapaxes(x, 1, 2) @ y))


def _targets(scenario: Scenario, kpis: StepKpis) -> Float[np.ndarray, "cell target"]:
    return np.concatenate([kpis.required_share, needed_service(kpis, scenario)], axis=1)


def _features(
    scenario: Scenario, kpis: StepKpis, told: Float[np.ndarray, "cell told"]
) -> Float[np.ndarray, "cell feature"]:
    users = kpis.users / np.array([spec.users for spec in scenario.slices])
    constant = np.ones((len(users), 1))
    columns = (_targets(scenario, kpis), users, kpis.load, told, constant)
    return np.concatenate(columns, axis=1)


def told_by(name: str, scenario: Scenario) -> Decide:
    """What a forecaster hears of its neighbours: a message, or tomorrow's."""
    if name != "foreseen":
        message = make_message(name, scenario)
        return lambda _, kpis: message(kpis.load)
    return partial(_foreseen, scenario, make_message("mean_load", scenario))


def _foreseen(
    scenario: Scenario, message: Message, simulator: Simulator, kpis: StepKpis
) -> Float[np.ndarray, "cell message"]:
    """Neighbours' mean load in the step to be decided, if they persist."""
    return message(simulator.evaluate(persistence(scenario, simulator, kpis)).load)


def mean_reward(scenario: Scenario, decide: Decide, seed: int) -> float:
    """Over a period of traffic and all cells; the first split is equal."""
    simulator = Simulator(scenario, seed, map_seed=0)
    kpis = simulator.step(np.ones((len(scenario.cells), scenario.n_slices)))
    rewards = []
    for _ in range(STEPS):
        kpis = simulator.step(decide(simulator, kpis))
        rewards.append(reward_of(scenario, kpis).mean())
    return float(np.mean(rewards))


def message_worth(
    scenario: Scenario,
    seeds: Sequence[int],
    *,
    training_seeds: Sequence[int] = TRAINING_SEEDS,
    messages: Sequence[str] = MESSAGES,
) -> dict[str, PerSeed]:
    """Mean reward per seed: of persistence, and of forecasters by what they are told."""
    policies: dict[str, Decide] = {"persistence": partial(persistence, scenario)}
    for name in ("none", *messages):
        policies[name] = fitted(scenario, told_by(name, scenario), training_seeds)
    return {
        name: np.array([mean_reward(scenario, decide, seed) for seed in seeds])
        for name, decide in policies.items()
    }


def rows(
    *,
    scenarios: Sequence[str] = ("paper", "mixed"),
    seeds: int = 10,
    progress: Callable[[str], None] = lambda message: None,
) -> Iterator[Row]:
    """Both questions for each scenario and placement, with 95 % intervals over seeds."""
    rng = np.random.default_rng(np.random.SeedSequence(0))
    for name in scenarios:
        for placement in PLACEMENTS:
            progress(f"{name}, {placement}: disturbances")
            scenario = placed(built_in(name), placement)
            for change in CHANGES:
                where = f"coupling.{name}.{placement}.{change}"
                yield from _disturbance_rows(where, scenario, CHANGES[change], seeds, rng)
            progress(f"{name}, {placement}: what a message is worth")
            worth = message_worth(scenario, range(seeds))
            where = f"coupling.{name}.{placement}.message"
            yield _row(f"{where}.none", worth["none"], "reward", rng)
            gain = worth["none"] - worth["persistence"]
            yield _row(f"{where}.forecast", gain, "reward", rng, "persistence")
            for message in MESSAGES:
                gain = worth[message] - worth["none"]
                yield _row(f"{where}.{message}", gain, "reward", rng, "no_message")


def _disturbance_rows(
    where: str, scenario: Scenario, changed: float, seeds: int, rng: np.random.Generator
) -> Iterator[Row]:
    # The same cells and splits whatever the placement.
    found = np.array(
        [
            disturbances(scenario, seed, changed, np.random.default_rng(seed))
            for seed in range(seeds)
        ]
    )
    for who, per_seed in zip(Disturbances._fields, np.moveaxis(found, 0, -1), strict=True):
        yield _row(f"{where}.{who}.throughput", 100 * per_seed[0], "%", rng)
        yield _row(f"{where}.{who}.reward", per_seed[1], "reward", rng)


def _row(
    name: str, per_seed: PerSeed, unit: str, rng: np.random.Generator, reference: str = ""
) -> Row:
    interval: Interval = seed_interval(np.mean, per_seed, rng=rng) or (math.nan, math.nan)
    return {"name": name, "value": float(per_seed.mean()), "unit": unit, "reference": reference,
            "ratio": math.nan, "low": interval[0], "high": interval[1],
            "seeds": len(per_seed)}  # fmt: skip
