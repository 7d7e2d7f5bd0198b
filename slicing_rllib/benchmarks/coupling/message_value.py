"""How much reward a message about the neighbours' load adds to a linear forecast."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from slicing_rllib.benchmarks.coupling.disturbances import compute_reward
from slicing_rllib.benchmarks.rows import PERIOD_STEPS
from slicing_rllib.env import max_min_split
from slicing_rllib.env.observation import Message, make_message
from slicing_rllib.policies.oracles import needed_service
from slicing_rllib.radio import Scenario, Simulator, StepKpis

PerSlice = Float[np.ndarray, "cell slice"]
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
        message = make_message(name, scenario)
        return lambda _, kpis: message(kpis.load)
    return partial(_foresee_load, scenario, make_message("mean_load", scenario))


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
