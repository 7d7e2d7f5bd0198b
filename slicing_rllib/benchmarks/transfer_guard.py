"""Does the guard catch what does harm, and let pass what does not? Counted in live runs."""

import statistics
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from slicing_rllib.baselines import make_policy
from slicing_rllib.env import SlicingEnv
from slicing_rllib.evaluation import rollout
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.policies.trained_policy import TrainedPolicy
from slicing_rllib.radio import Phase, built_in
from slicing_rllib.transfer import TransferSettings, WarmStartCallback
from slicing_rllib.transfer.guard import HarmTest
from slicing_rllib.transfer.settings import GuardSettings
from slicing_rllib.transfer.strategies import Target, learnt_offline

Row = dict[str, float | str | int]
Says = Callable[[str], None]
Weights = dict[str, dict[str, np.ndarray]]
EXPLORATION_STEPS, TRAINING_STEPS = 400, 1600
INVERTED_UPDATES = 1000
NEVER = 10**9
HARM = 0.01
TRUTH_STEPS, TRUTH_SEED = 400, 987


def rows(*, warm_starts: int, progress: Says) -> Iterator[Row]:
    """Every cell takes another's policy, round after round.

    As it is; with negated weights; and one that learned from inverted rewards. Harmful is what,
    without any fine-tuning, gets less than the default action by more than HARM on other traffic.
    """
    progress(f"training sources for {EXPLORATION_STEPS + TRAINING_STEPS} steps")
    algorithm = _trained()
    weights = {cell: algorithm.policy_weights(cell) for cell in algorithm.cells}
    progress("learning from inverted rewards")
    kinds = {
        "healthy": weights,
        "negated": {cell: _negated(own) for cell, own in weights.items()},
        "inverted": {cell: _inverted(algorithm, cell) for cell in algorithm.cells},
    }
    for name, sources in kinds.items():
        progress(f"{warm_starts} warm starts, {name}")
        judged = _judged(algorithm, sources, weights, warm_starts)
        for truth, harmful in (("harmful", True), ("harmless", False)):
            steps = [alarm for harm, alarm in judged if harm == harmful]
            if steps:
                yield _row(f"transfer.guard_alarms.{name}.{truth}", steps)
    algorithm.stop()


def _row(name: str, alarms: list[int | None]) -> Row:
    caught = [alarm for alarm in alarms if alarm is not None]
    return {
        "name": name,
        "value": len(caught) / len(alarms),
        "unit": "share",
        "reference": "",
        "ratio": 1.0,
        "warm_starts": len(alarms),
        "steps_to_alarm": statistics.median(caught) if caught else 0,
    }


def _trained() -> TD3:
    settings = TransferSettings(guard=GuardSettings(cool_down_steps=NEVER))
    config = (
        TD3Config()
        .environment(SlicingEnv, env_config={"scenario": built_in("paper")})
        .training(exploration_steps=EXPLORATION_STEPS, steps_per_iteration=20)
        .callbacks(WarmStartCallback.configured(settings))
    )
    algorithm = config.build_algo()
    assert isinstance(algorithm, TD3)
    while algorithm.env_steps < EXPLORATION_STEPS + TRAINING_STEPS:
        algorithm.train()
    return algorithm


def _judged(
    algorithm: TD3, sources: Weights, own: Weights, warm_starts: int
) -> list[tuple[bool, int | None]]:
    """Per warm start: whether it is harmful, and the steps to the alarm; None without one."""
    judged: list[tuple[bool, int | None]] = []
    cells = algorithm.cells
    shift = 0
    while len(judged) < warm_starts:
        shift = shift % (len(cells) - 1) + 1
        taken = {c: sources[cells[(p + shift) % len(cells)]] for p, c in enumerate(cells)}
        for cell in cells:
            _begin(algorithm, cell, taken[cell])
        alarms = _round(algorithm)
        harmful = _harmful(taken)
        judged += [(bool(harmful[row]), alarms[cell]) for row, cell in enumerate(cells)]
        for cell in cells:
            algorithm.set_policy_weights(cell, own[cell])
            algorithm.set_phase(cell, Phase.CONTROLLED)
    return judged[:warm_starts]


def _harmful(weights: Weights) -> np.ndarray:
    """By cell, on whole periods of traffic that no training saw."""
    env = SlicingEnv(built_in("paper"))
    rng = np.random.default_rng(0)
    policies = [
        TrainedPolicy(env.cells, weights),
        make_policy("equal", env.scenario, rng, map_seed=0),
    ]
    ours, default = (rollout(env, policy, TRUTH_STEPS, TRUTH_SEED) for policy in policies)
    return (ours.reward - default.reward).mean(axis=0) < -HARM


def _begin(algorithm: TD3, cell: str, weights: Mapping[str, np.ndarray]) -> None:
    algorithm.set_policy_weights(cell, weights)
    algorithm.reset_optimizer(cell)
    algorithm.resume_updates(cell)
    algorithm.cell_states.set_guarded(cell)
    algorithm.callback_state.setdefault("transfer", {})[cell] = {
        "stage": "guarded",
        "source": "another",
        "attempt": 1,
        "ranking": [],
        "log_wealth": list(HarmTest(0.0, 0.5).log_wealth),
        "watched": 0,
        "lost": 0.0,
        "until": 0,
    }


def _round(algorithm: TD3) -> dict[str, int | None]:
    """Until every cell was let pass or fell back."""
    algorithm.take_events()
    found: dict[str, int | None] = {}
    while len(found) < len(algorithm.cells):
        algorithm.train()
        for told in algorithm.take_events():
            if told.cell is not None and told.kind == "negative_transfer":
                found.setdefault(told.cell, int(told.evidence["steps"]))
            if told.cell is not None and told.kind == "guard_passed":
                found.setdefault(told.cell, None)
    return found


def _inverted(algorithm: TD3, cell: str) -> dict[str, np.ndarray]:
    """What the cell would have learned had it been rewarded for serving badly."""
    experience = algorithm.replay.last(cell, EXPLORATION_STEPS + TRAINING_STEPS)
    inverted = experience._replace(reward=1.0 - experience.reward)
    target = Target(cell, algorithm.fresh_weights(cell, 1), None, algorithm.hyperparameters)
    return learnt_offline(target, inverted, INVERTED_UPDATES, np.random.default_rng(0))


def _negated(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: -value for name, value in weights.items()}
