"""How many harmful and how many harmless warm starts the guard stops, counted in live runs.

The READMEs of `transfer` and `benchmarks` have the results of
`SLICING_RLLIB_FULL_STUDIES=1 pytest -n 0 -m slow tests/studies/test_study_transfer_guard.py`.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pytest

from slicing_rllib.benchmarks.rows import Row, make_row
from slicing_rllib.env import SlicingEnv
from slicing_rllib.evaluation import rollout
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.policies.baselines import make_policy
from slicing_rllib.policies.events import EventKind
from slicing_rllib.policies.trained_policy import TrainedPolicy
from slicing_rllib.radio import Phase, make_scenario
from slicing_rllib.transfer import TransferSettings, WarmStartCallback
from slicing_rllib.transfer.methods import Target, train_offline
from slicing_rllib.transfer.stages import Guarded, StageRecords, WarmStartPlan
from slicing_rllib.transfer.transfer_settings import GuardSettings

Weights = Mapping[str, np.ndarray]
"""A policy's parameters by name."""

EXPLORATION_STEPS, TRAINING_STEPS = 400, 1600
ITERATION_STEPS = 20
INVERTED_UPDATES = 1000
"""Updates from inverted rewards, which make a harmful policy."""
NEVER_STEPS = 10**9
"""A cool-down that outlasts the benchmark: a cell that fell back gets no second source."""
HARMFUL_LOSS = 0.01
"""Mean reward below that of the default action from which on a policy counts as harmful."""
TRUTH_STEPS, TRUTH_SEED = 400, 987


class WarmStart(NamedTuple):
    """How one warm start went."""

    is_harmful: bool
    """The policy, without fine-tuning, earns less than the default action on other traffic."""
    steps_to_alarm: int | None
    """Steps until the guard fell back; None if the guard let the policy pass."""


def run(*, warm_starts: int, on_message: Callable[[str], None]) -> Iterator[Row]:
    """Yields the share of warm starts that the guard stops: healthy, negated and inverted sources.

    Every cell receives the policy of another cell, in round after round: as it is (healthy), with
    negated weights, or a policy that learned from inverted rewards. Harmful and harmless warm
    starts are counted apart.

    Args:
        warm_starts: Number of warm starts of each kind.
        on_message: Receives one line of text before each part.
    """
    on_message(f"training sources for {EXPLORATION_STEPS + TRAINING_STEPS} steps")
    algorithm = _train_sources()
    healthy = {cell: algorithm.policy_weights(cell) for cell in algorithm.cells}
    on_message("training on inverted rewards")
    kinds = {
        "healthy": healthy,
        "negated": {cell: _negate(weights) for cell, weights in healthy.items()},
        "inverted": {cell: _learn_inverted(algorithm, cell) for cell in algorithm.cells},
    }
    for name, sources in kinds.items():
        on_message(f"running {warm_starts} warm starts, {name}")
        results = _run_warm_starts(algorithm, sources, healthy, warm_starts)
        for truth, is_harmful in (("harmful", True), ("harmless", False)):
            alarms = [found.steps_to_alarm for found in results if found.is_harmful == is_harmful]
            if alarms:
                yield _make_alarm_row(f"transfer.guard_alarms.{name}.{truth}", alarms)
    algorithm.stop()


def _make_alarm_row(name: str, alarms: list[int | None]) -> Row:
    stopped = [steps for steps in alarms if steps is not None]
    return make_row(
        name,
        len(stopped) / len(alarms),
        "share",
        warm_starts=len(alarms),
        steps_to_alarm=statistics.median(stopped) if stopped else 0,
    )


def _train_sources() -> TD3:
    settings = TransferSettings(guard=GuardSettings(cool_down_steps=NEVER_STEPS))
    config = (
        TD3Config()
        .environment(SlicingEnv, env_config={"scenario": make_scenario("paper")})
        .training(exploration_steps=EXPLORATION_STEPS, steps_per_iteration=ITERATION_STEPS)
        .callbacks(WarmStartCallback.bind(settings))
    )
    algorithm = config.build_algo()
    assert isinstance(algorithm, TD3)
    while algorithm.env_steps < EXPLORATION_STEPS + TRAINING_STEPS:
        algorithm.train()
    return algorithm


def _run_warm_starts(
    algorithm: TD3, sources: Mapping[str, Weights], own: Mapping[str, Weights], warm_starts: int
) -> list[WarmStart]:
    """Gives each cell the source `shift` places further on, with another shift in each round."""
    results: list[WarmStart] = []
    cells = algorithm.cells
    shift = 0
    while len(results) < warm_starts:
        shift = shift % (len(cells) - 1) + 1
        given = {c: sources[cells[(p + shift) % len(cells)]] for p, c in enumerate(cells)}
        for cell in cells:
            _warm_start(algorithm, cell, given[cell])
        alarms = _train_until_judged(algorithm)
        is_harmful = _find_harmful(given)
        results += [
            WarmStart(bool(is_harmful[row]), alarms[cell]) for row, cell in enumerate(cells)
        ]
        for cell in cells:
            algorithm.set_policy_weights(cell, own[cell])
            algorithm.set_phase(cell, Phase.CONTROLLED)
    return results[:warm_starts]


def _find_harmful(weights: Mapping[str, Weights]) -> np.ndarray:
    """By cell, whether its policy is harmful on traffic periods that were never trained on."""
    env = SlicingEnv(make_scenario("paper"))
    rng = np.random.default_rng(0)
    policies = [
        TrainedPolicy(env.cells, weights),
        make_policy("equal", env.scenario, rng, map_seed=0),
    ]
    ours, default = (rollout(env, policy, TRUTH_STEPS, TRUTH_SEED) for policy in policies)
    return (ours.reward - default.reward).mean(axis=0) < -HARMFUL_LOSS


def _warm_start(algorithm: TD3, cell: str, weights: Weights) -> None:
    algorithm.set_policy_weights(cell, weights)
    algorithm.reset_optimizer(cell)
    algorithm.resume_updates(cell)
    # The guard tests the policy from the next step on, as after a transfer.
    algorithm.cell_states.set_guarded(cell)
    stage = Guarded(source="another", plan=WarmStartPlan(attempts=1))
    StageRecords(algorithm.callback_state).write(cell, stage)


def _train_until_judged(algorithm: TD3) -> dict[str, int | None]:
    """Trains until the guard stopped or passed every cell; returns the steps to each alarm."""
    algorithm.take_events()
    alarms: dict[str, int | None] = {}
    while len(alarms) < len(algorithm.cells):
        algorithm.train()
        for event in algorithm.take_events():
            if event.cell is not None and event.kind == EventKind.NEGATIVE_TRANSFER:
                alarms.setdefault(event.cell, int(event.evidence["steps"]))
            if event.cell is not None and event.kind == EventKind.GUARD_PASSED:
                alarms.setdefault(event.cell, None)
    return alarms


def _learn_inverted(algorithm: TD3, cell: str) -> Weights:
    """Returns the weights that a cell learns from its experience with rewards 1 - r."""
    experience = algorithm.replay.last(cell, EXPLORATION_STEPS + TRAINING_STEPS)
    inverted = experience._replace(reward=1.0 - experience.reward)
    target = Target(
        cell,
        algorithm.fresh_weights(cell, 1),
        None,
        algorithm.network_sizes(cell),
        algorithm.settings,
    )
    return train_offline(target, inverted, INVERTED_UPDATES, np.random.default_rng(0))


def _negate(weights: Weights) -> Weights:
    return {name: -value for name, value in weights.items()}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("ray_session")
def test_the_guard_stops_every_source_that_learned_from_inverted_rewards(is_full_study, show_rows):
    found = show_rows(run(warm_starts=60 if is_full_study else 12, on_message=print))
    assert found["transfer.guard_alarms.inverted.harmful"]["value"] == 1.0
    healthy = found["transfer.guard_alarms.healthy.harmless"]
    assert healthy["value"] <= 0.1
