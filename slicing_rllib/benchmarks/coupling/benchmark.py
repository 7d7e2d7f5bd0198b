"""Rows of `bench coupling`: disturbances and the value of messages, with 95 % intervals."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from slicing_rllib.benchmarks.coupling.disturbances import (
    Disturbances,
    measure_disturbances,
    set_placement,
)
from slicing_rllib.benchmarks.coupling.message_value import (
    MESSAGES,
    TRAINING_SEEDS,
    measure_message_value,
)
from slicing_rllib.benchmarks.rows import PERIOD_STEPS, Row, make_row
from slicing_rllib.evaluation.statistics import Interval, mean_interval
from slicing_rllib.radio import Scenario, make_scenario

PerSeed = Float[np.ndarray, " seed"]

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
