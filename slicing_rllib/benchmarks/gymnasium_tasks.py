"""What TD3 learns on Gymnasium's tasks, compared with TD3 of Stable-Baselines3."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch

from slicing_rllib.benchmarks.learning_peers.gymnasium_td3 import (
    TASKS,
    Task,
    Trained,
    train_own,
    train_sb3,
)
from slicing_rllib.benchmarks.rows import Row, make_row
from slicing_rllib.evaluation.statistics import mean_interval

EVALUATION_EPISODES = 20
EVALUATION_SEED = 1_000_000
"""Seed of the first episode of an evaluation; no training begins with it."""
REFERENCE = "sb3_td3"


def run(
    *, tasks: Sequence[str], seeds: int, steps: int | None, on_message: Callable[[str], None]
) -> Iterator[Row]:
    """Yields rows per task: mean returns of both, their difference, and the training speed.

    Args:
        tasks: Names of `TASKS`.
        seeds: Trainings of each task with each implementation.
        steps: Environment steps of each training; None for those of the task.
        on_message: Receives one line of text before each training.
    """
    torch.set_num_threads(1)
    for name in tasks:
        task = TASKS[name] if steps is None else TASKS[name]._replace(steps=steps)
        yield from _compare(name, task, seeds, on_message)


def evaluate(name: str, act: Callable[[np.ndarray], np.ndarray]) -> float:
    """Mean return of a policy over episodes that are the same for every policy."""
    env = gymnasium.make(name)
    returns = [_play(env, act, EVALUATION_SEED + episode) for episode in range(EVALUATION_EPISODES)]
    env.close()
    return float(np.mean(returns))


def _play(env: Any, act: Callable[[np.ndarray], np.ndarray], seed: int) -> float:
    obs, _ = env.reset(seed=seed)
    total, is_over = 0.0, False
    while not is_over:
        obs, reward, terminated, truncated, _ = env.step(act(obs))
        total += float(reward)
        is_over = terminated or truncated
    return total


def _compare(name: str, task: Task, seeds: int, on_message: Callable[[str], None]) -> Iterator[Row]:
    returns: dict[str, list[float]] = {"own": [], REFERENCE: []}
    rates: dict[str, list[float]] = {"own": [], REFERENCE: []}
    trainings: dict[str, Callable[[str, Task, int], Trained]] = {
        "own": train_own,
        REFERENCE: train_sb3,
    }
    for seed in range(seeds):
        # Turns alternate, so that a machine that slows down favours neither.
        order = list(trainings) if seed % 2 == 0 else list(reversed(trainings))
        for implementation in order:
            on_message(f"{name}: {implementation}, seed {seed + 1} of {seeds}")
            trained = trainings[implementation](name, task, seed)
            returns[implementation].append(evaluate(name, trained.act))
            rates[implementation].append(task.steps / trained.seconds)
    yield from _make_return_rows(name, task, returns)
    own, reference = (float(np.median(rates[key])) for key in ("own", REFERENCE))
    yield make_row(
        f"gymnasium.{name}.steps_per_s",
        own,
        "steps/s",
        reference=REFERENCE,
        ratio=own / reference,
        reference_value=reference,
        steps=task.steps,
        seeds=len(rates["own"]),
    )


def _make_return_rows(name: str, task: Task, returns: dict[str, list[float]]) -> Iterator[Row]:
    own, reference = (np.array(returns[key]) for key in ("own", REFERENCE))
    for suffix, per_seed, compared_with in (
        ("", own, ""),
        (f"_{REFERENCE}", reference, ""),
        ("_difference", own - reference, REFERENCE),
    ):
        low, high = mean_interval(per_seed) or (math.nan, math.nan)
        yield make_row(
            f"gymnasium.{name}.return{suffix}",
            float(per_seed.mean()),
            "1",
            reference=compared_with,
            # A ratio of returns that may be negative says nothing.
            ratio=math.nan,
            low=low,
            high=high,
            steps=task.steps,
            seeds=len(per_seed),
        )
