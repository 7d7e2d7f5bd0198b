"""How much cells disturb each other through their splits, and what a message about it is worth.

Both questions are answered on equal seeds under `contiguous` and `random` placement of the slices'
PRBs. One cell, or all neighbours of a cell, change their split: by how much do throughput and
reward change within the same step, at the cell itself and at its neighbours? And a forecaster
predicts a cell's next step from its last one, with or without the load of the neighbours, and the
closed-form optimum for the forecast is applied: how much reward does the message add? The message
of the step to be decided, which no real cell can have, is tried as well, to show that the
forecaster could use a message that says more.

The README of `radio` has the results of
`SLICING_RLLIB_FULL_STUDIES=1 pytest -n 0 -m slow tests/studies/test_study_coupling.py`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from jaxtyping import Float, Int

from slicing_rllib.benchmarks.rows import PERIOD_STEPS, Row, make_row
from slicing_rllib.env import max_min_split, slice_reward
from slicing_rllib.env.observation import Message, mean_load
from slicing_rllib.evaluation.statistics import Interval, mean_interval
from slicing_rllib.policies.baselines import divide_in_proportion
from slicing_rllib.policies.oracles import needed_service
from slicing_rllib.radio import Scenario, Simulator, StepKpis, make_scenario
from slicing_rllib.registry import get_part

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


PerSeed = Float[np.ndarray, " seed"]
Information = Float[np.ndarray, "cell information"]
Decide = Callable[[Simulator, StepKpis], PerSlice]
"""Chooses every cell's split from the last step's KPIs, and from the simulator for `foreseen`."""
Inform = Callable[[Simulator, StepKpis], Information]
"""What each cell learns about its neighbours before it decides."""

TRAINING_SEEDS = tuple(range(2000, 2010))
PENALTY = 1e-3
"""Ridge penalty per sample. The features are of order one."""
MIN_FORECAST = 0.1
"""Smallest forecast, as a share of the last step's value."""
FORESEEN = "foreseen"
"""The neighbours' mean load of the step to be decided."""
MESSAGES = ("mean_load", "per_neighbour", FORESEEN)


@dataclass(frozen=True)
class Forecaster:
    """Applies the closed-form optimum for a linear forecast of the next step.

    The forecast is the change of required share and needed service, cell by cell. Its features are
    the last step's required shares, needed service, users and loads, and further information.
    """

    scenario: Scenario
    inform: Inform
    """Returns the further information per cell."""
    weights: Float[np.ndarray, "cell feature target"]

    def __call__(self, simulator: Simulator, kpis: StepKpis) -> PerSlice:
        last = _make_targets(self.scenario, kpis)
        features = _make_features(self.scenario, kpis, self.inform(simulator, kpis))
        change = np.einsum("cf,cft->ct", features, self.weights)
        # A forecast of zero would leave the slice without any PRBs.
        required, needed = np.split(np.maximum(last + change, MIN_FORECAST * last), 2, axis=1)
        return max_min_split(required, needed)


def apply_persistence(scenario: Scenario, _: Simulator, kpis: StepKpis) -> PerSlice:
    """Returns the closed-form optimum for the last step."""
    return max_min_split(kpis.required_share, needed_service(kpis, scenario))


def fit_forecaster(
    scenario: Scenario, inform: Inform, seeds: Sequence[int], *, steps: int = PERIOD_STEPS
) -> Forecaster:
    """Fits a forecaster by ridge regression on `steps` steps of each seed under persistence."""
    features, changes = [], []
    for seed in seeds:
        simulator = Simulator(scenario, seed, map_seed=0)
        kpis = simulator.step(np.ones((len(scenario.cells), scenario.n_slices)))
        for _ in range(steps - 1):
            features.append(_make_features(scenario, kpis, inform(simulator, kpis)))
            last = _make_targets(scenario, kpis)
            kpis = simulator.step(apply_persistence(scenario, simulator, kpis))
            changes.append(_make_targets(scenario, kpis) - last)
    x, y = np.stack(features, axis=1), np.stack(changes, axis=1)
    square = np.swapaxes(x, 1, 2) @ x + PENALTY * x.shape[1] * np.eye(x.shape[2])
    return Forecaster(scenario, inform, np.linalg.solve(square, np.swapaxes(x, 1, 2) @ y))


def make_inform(name: str, scenario: Scenario) -> Inform:
    """Returns the function that informs cells: by a message's name, or FORESEEN."""
    if name != FORESEEN:
        message = get_part("message", name)(scenario)
        return lambda _, kpis: message(kpis.load)
    return partial(_foresee_load, scenario, mean_load(scenario))


def measure_message_value(
    scenario: Scenario,
    seeds: Sequence[int],
    *,
    training_seeds: Sequence[int] = TRAINING_SEEDS,
    messages: Sequence[str] = MESSAGES,
    steps: int = PERIOD_STEPS,
) -> dict[str, PerSeed]:
    """Returns the mean reward per seed: of persistence, and of a forecaster with each message.

    Args:
        scenario: The network.
        seeds: Seeds of movement and traffic on which policies are compared.
        training_seeds: Seeds on which the forecasters are fitted.
        messages: Messages to try besides `none`.
        steps: Network steps per seed.
    """
    policies: dict[str, Decide] = {"persistence": partial(apply_persistence, scenario)}
    for name in ("none", *messages):
        inform = make_inform(name, scenario)
        policies[name] = fit_forecaster(scenario, inform, training_seeds, steps=steps)
    return {
        name: np.array([_compute_mean_reward(scenario, decide, seed, steps) for seed in seeds])
        for name, decide in policies.items()
    }


def _make_targets(scenario: Scenario, kpis: StepKpis) -> Float[np.ndarray, "cell target"]:
    return np.concatenate([kpis.required_share, needed_service(kpis, scenario)], axis=1)


def _make_features(
    scenario: Scenario, kpis: StepKpis, information: Information
) -> Float[np.ndarray, "cell feature"]:
    users = kpis.users / np.array([spec.users for spec in scenario.slices])
    constant = np.ones((len(users), 1))
    columns = (_make_targets(scenario, kpis), users, kpis.load, information, constant)
    return np.concatenate(columns, axis=1)


def _foresee_load(
    scenario: Scenario, message: Message, simulator: Simulator, kpis: StepKpis
) -> Information:
    """The neighbours' mean load in the step to be decided, if all cells apply persistence."""
    return message(simulator.evaluate(apply_persistence(scenario, simulator, kpis)).load)


def _compute_mean_reward(scenario: Scenario, decide: Decide, seed: int, steps: int) -> float:
    """Mean over steps and cells. One step with equal splits precedes them."""
    simulator = Simulator(scenario, seed, map_seed=0)
    kpis = simulator.step(np.ones((len(scenario.cells), scenario.n_slices)))
    rewards = []
    for _ in range(steps):
        kpis = simulator.step(decide(simulator, kpis))
        rewards.append(compute_reward(scenario, kpis).mean())
    return float(np.mean(rewards))


PLACEMENTS = ("contiguous", "random")
CHANGED_SHARES = {"any_split": 1.0, "tenth": 0.1}
"""Share of its carrier that a cell divides in another way, by the name in the rows."""


def run(
    *,
    scenarios: Sequence[str],
    seeds: int,
    on_message: Callable[[str], None],
    placements: Sequence[str] = PLACEMENTS,
    training_seeds: Sequence[int] = TRAINING_SEEDS,
    steps: int = PERIOD_STEPS,
) -> Iterator[Row]:
    """Yields disturbances and message values for each scenario and placement.

    `low` and `high` of a row are the 95 % interval over seeds.

    Args:
        scenarios: Names of built-in scenarios.
        seeds: Number of seeds of movement and traffic; at least 2 give an interval.
        on_message: Receives one line of text before each part.
        placements: Placements of PRBs to compare.
        training_seeds: Seeds on which the forecasters are fitted.
        steps: Network steps per seed.
    """
    for name in scenarios:
        for placement in placements:
            scenario = set_placement(make_scenario(name), placement)
            prefix = f"coupling.{name}.{placement}"
            on_message(f"{name}, {placement}: measuring disturbances")
            for change, share in CHANGED_SHARES.items():
                yield from _measure_disturbances(
                    f"{prefix}.{change}", scenario, share, seeds, steps
                )
            on_message(f"{name}, {placement}: measuring the value of messages")
            rewards = measure_message_value(
                scenario, range(seeds), training_seeds=training_seeds, steps=steps
            )
            yield from _compare_messages(f"{prefix}.message", rewards)


def _measure_disturbances(
    prefix: str,
    scenario: Scenario,
    changed_share: float,
    seeds: int,
    steps: int,
) -> Iterator[Row]:
    # A generator per seed: both placements then change the same cells to the same splits.
    found = np.array(
        [
            measure_disturbances(
                scenario, seed, changed_share, np.random.default_rng(seed), steps=steps
            )
            for seed in range(seeds)
        ]
    )
    for who, per_seed in zip(Disturbances._fields, np.moveaxis(found, 0, -1), strict=True):
        yield _make_interval_row(f"{prefix}.{who}.throughput", 100 * per_seed[0], "%")
        yield _make_interval_row(f"{prefix}.{who}.reward", per_seed[1], "reward")


def _compare_messages(
    prefix: str,
    rewards: dict[str, PerSeed],
) -> Iterator[Row]:
    yield _make_interval_row(f"{prefix}.none", rewards["none"], "reward")
    gain = rewards["none"] - rewards["persistence"]
    yield _make_interval_row(f"{prefix}.forecast", gain, "reward", "persistence")
    for message in MESSAGES:
        gain = rewards[message] - rewards["none"]
        yield _make_interval_row(f"{prefix}.{message}", gain, "reward", "no_message")


def _make_interval_row(name: str, per_seed: PerSeed, unit: str, reference: str = "") -> Row:
    interval: Interval = mean_interval(per_seed) or (math.nan, math.nan)
    return make_row(
        name,
        float(per_seed.mean()),
        unit,
        reference=reference,
        ratio=math.nan,
        low=interval[0],
        high=interval[1],
        seeds=len(per_seed),
    )


SHORT_STEPS = 40


def make_light_traffic():
    """The paper's network with a third of its traffic, so that no slice is overloaded."""
    paper = make_scenario("paper")
    slices = tuple(
        replace(spec, traffic=replace(spec.traffic, rate_kbps=spec.traffic.rate_kbps / 3))
        for spec in paper.slices
    )
    return replace(paper, slices=slices)


@pytest.mark.parametrize("changed_share", CHANGED_SHARES.values())
def test_with_contiguous_placement_a_split_changes_the_neighbours_throughput(changed_share):
    """The effect is largest at the cell itself, and several per cent if all neighbours change."""
    paper = set_placement(make_scenario("paper"), "contiguous")
    found = measure_disturbances(
        paper, 0, changed_share, np.random.default_rng(0), steps=SHORT_STEPS
    )
    assert found.own.throughput > found.neighbours.throughput > found.one_cell.throughput
    assert found.neighbours.throughput > 0.01
    assert found.neighbours.reward > 0.005


def test_without_overload_random_placement_hides_every_split_from_the_neighbours():
    """A stable slice uses as many PRBs as its traffic needs, whatever share it was given."""
    found = {
        placement: measure_disturbances(
            set_placement(make_light_traffic(), placement),
            0,
            0.1,
            np.random.default_rng(0),
            steps=SHORT_STEPS,
        )
        for placement in PLACEMENTS
    }
    assert found["random"].one_cell.throughput < 1e-6
    assert found["random"].neighbours.throughput < 1e-6
    assert found["contiguous"].neighbours.throughput > 1e-3
    assert found["random"].own.throughput > 0.01


def test_a_change_of_nothing_disturbs_nobody():
    found = measure_disturbances(
        make_scenario("paper"), 0, 0.0, np.random.default_rng(0), steps=SHORT_STEPS
    )
    assert np.array(found).max() == 0.0


SEED = 1
FIT_STEPS = 60


@pytest.fixture(scope="module")
def scenario():
    return make_scenario("paper")


@pytest.fixture(scope="module")
def without_message(scenario):
    return fit_forecaster(scenario, make_inform("none", scenario), (SEED,), steps=FIT_STEPS)


@pytest.fixture
def last_step(scenario):
    simulator = Simulator(scenario, SEED, map_seed=0)
    return simulator, simulator.step(np.ones((12, 4)))


def test_a_forecast_without_change_is_persistence(scenario, without_message, last_step):
    unchanged = Forecaster(scenario, without_message.inform, np.zeros_like(without_message.weights))
    np.testing.assert_array_equal(unchanged(*last_step), apply_persistence(scenario, *last_step))


def test_constant_information_changes_no_decision(scenario, without_message, last_step):
    """A feature that is always zero gets no weight."""
    informed = fit_forecaster(
        scenario, lambda _simulator, _kpis: np.zeros((12, 1)), (SEED,), steps=FIT_STEPS
    )
    np.testing.assert_allclose(informed(*last_step), without_message(*last_step), atol=1e-9)


def test_a_forecaster_earns_more_than_persistence(scenario):
    """On traffic that it was not fitted on; the gain over ten seeds is 0.035."""
    reward = measure_message_value(
        scenario, (0,), training_seeds=(SEED, SEED + 1), messages=(), steps=200
    )
    assert reward["none"][0] > reward["persistence"][0] + 0.01


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_message_is_worth_little_and_only_under_contiguous_placement(is_full_study, show_rows):
    """The forecaster gains more from its own past than from any message that it could get."""
    if is_full_study:
        found = show_rows(run(scenarios=("paper", "mixed"), seeds=10, on_message=print))
    else:
        rows = run(
            scenarios=("paper",), seeds=2, training_seeds=(2000, 2001), steps=120, on_message=print
        )
        found = show_rows(rows)
    values = {name.removeprefix("coupling.paper."): row["value"] for name, row in found.items()}
    assert all(row["low"] <= row["value"] <= row["high"] for row in found.values())
    for placement in PLACEMENTS:
        message = values[f"{placement}.message.mean_load"]
        assert abs(message) < values[f"{placement}.message.forecast"]
    effect = "tenth.neighbours.throughput"
    assert values[f"random.{effect}"] < values[f"contiguous.{effect}"] / 3
