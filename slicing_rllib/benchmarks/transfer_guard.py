"""Does the guard catch what does harm, and let pass what does not? Counted in live runs."""

import statistics
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning import TD3, TD3Config
from slicing_rllib.radio import Phase, built_in
from slicing_rllib.transfer import TransferSettings, WarmStartCallback
from slicing_rllib.transfer.guard import HarmTest
from slicing_rllib.transfer.settings import GuardSettings

Row = dict[str, float | str | int]
Says = Callable[[str], None]
Weights = dict[str, dict[str, np.ndarray]]
EXPLORATION_STEPS, TRAINING_STEPS = 400, 1600
NEVER = 10**9


def rows(*, warm_starts: int, progress: Says) -> Iterator[Row]:
    """Every cell takes another's policy, round after round: as it is, then with negated weights."""
    progress(f"training sources for {EXPLORATION_STEPS + TRAINING_STEPS} steps")
    algorithm = _trained()
    weights = {cell: algorithm.policy_weights(cell) for cell in algorithm.cells}
    poisoned = {cell: _negated(own) for cell, own in weights.items()}
    for name, sources in (("healthy", weights), ("poisoned", poisoned)):
        progress(f"{warm_starts} {name} warm starts")
        alarms = _alarms(algorithm, sources, weights, warm_starts)
        caught = [steps for steps in alarms if steps is not None]
        yield {
            "name": f"transfer.guard_alarms_{name}",
            "value": len(caught) / len(alarms),
            "unit": "share",
            "reference": "",
            "ratio": 1.0,
            "warm_starts": len(alarms),
            "median_steps_to_alarm": statistics.median(caught) if caught else 0,
        }
    algorithm.stop()


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


def _alarms(algorithm: TD3, sources: Weights, own: Weights, warm_starts: int) -> list[int | None]:
    """Per warm start, the steps until the guard fell back; None where it did not."""
    alarms: list[int | None] = []
    cells = algorithm.cells
    shift = 0
    while len(alarms) < warm_starts:
        shift = shift % (len(cells) - 1) + 1
        for place, cell in enumerate(cells):
            _begin(algorithm, cell, sources[cells[(place + shift) % len(cells)]])
        alarms += _round(algorithm)
        for cell in cells:
            algorithm.set_policy_weights(cell, own[cell])
            algorithm.set_phase(cell, Phase.CONTROLLED)
    return alarms[:warm_starts]


def _begin(algorithm: TD3, cell: str, weights: Mapping[str, np.ndarray]) -> None:
    algorithm.set_policy_weights(cell, weights)
    algorithm.reset_optimizer(cell)
    algorithm.wake(cell)
    algorithm.control.watch(cell)
    algorithm.notes.setdefault("transfer", {})[cell] = {
        "stage": "guarded",
        "source": "another",
        "attempt": 1,
        "ranking": [],
        "log_wealth": list(HarmTest(0.0, 0.5).log_wealth),
        "watched": 0,
        "lost": 0.0,
        "until": 0,
    }


def _round(algorithm: TD3) -> list[int | None]:
    """Until every cell was let pass or fell back."""
    algorithm.take_happenings()
    found: dict[str, int | None] = {}
    while len(found) < len(algorithm.cells):
        algorithm.train()
        for told in algorithm.take_happenings():
            if told.cell is not None and told.kind == "negative_transfer":
                found.setdefault(told.cell, int(told.evidence["steps"]))
            if told.cell is not None and told.kind == "guard_passed":
                found.setdefault(told.cell, None)
    return list(found.values())


def _negated(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: -value for name, value in weights.items()}
