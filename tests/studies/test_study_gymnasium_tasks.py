"""What TD3 learns on Gymnasium's tasks, compared with TD3 of Stable-Baselines3.

Both have the same networks, settings and number of steps. The README of `benchmarks` has the
results of
`SLICING_RLLIB_FULL_STUDIES=1 pytest -n 0 -m slow tests/studies/test_study_gymnasium_tasks.py`.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import TD3 as Sb3TD3
from stable_baselines3.common.noise import NormalActionNoise

from slicing_rllib.benchmarks.rows import Row, make_row
from slicing_rllib.evaluation.statistics import mean_interval
from slicing_rllib.learning import TD3, TD3Config

GAMMA, LEARNING_RATE, BATCH_SIZE = 0.99, 1e-3, 128
HIDDENS = (64, 64)
RANDOM_STEPS = 1_000
"""Steps at the start in which actions are drawn at random."""
TAU, POLICY_DELAY, TARGET_NOISE, TARGET_NOISE_CLIP = 0.005, 2, 0.2, 0.5
"""Fujimoto et al. 2018, sec. 6.1."""


class Task(NamedTuple):
    """How long both implementations train on a task."""

    steps: int
    """Environment steps, with one update after each of them."""
    exploration_noise: float
    """Standard deviation of Gaussian noise on actions that are scaled to -1 to 1."""


TASKS = {
    "Pendulum-v1": Task(steps=10_000, exploration_noise=0.1),
    "MountainCarContinuous-v0": Task(steps=30_000, exploration_noise=0.5),
}


class Trained(NamedTuple):
    """A trained policy."""

    act: Callable[[np.ndarray], np.ndarray]
    """The action for one observation, without noise."""
    seconds: float
    """Duration of the training."""


def train_own(name: str, task: Task, seed: int) -> Trained:
    """This project's TD3. Ray must have been started."""
    algorithm = _configure_own(name, task).debugging(seed=seed).build_algo()
    assert isinstance(algorithm, TD3)
    started = time.perf_counter()
    algorithm.train()
    seconds = time.perf_counter() - started
    module: Any = algorithm.get_module()
    algorithm.stop()

    def act(obs: np.ndarray) -> np.ndarray:
        batch = {"obs": torch.from_numpy(np.asarray(obs, np.float32))[None]}
        with torch.no_grad():
            return module.forward_inference(batch)["actions"][0].numpy()

    return Trained(act, seconds)


def train_sb3(name: str, task: Task, seed: int) -> Trained:
    """TD3 of Stable-Baselines3 with the same settings."""
    env = gymnasium.make(name)
    shape: Any = env.action_space.shape
    model = Sb3TD3(
        "MlpPolicy",
        env,
        learning_rate=LEARNING_RATE,
        buffer_size=task.steps,
        learning_starts=RANDOM_STEPS,
        batch_size=BATCH_SIZE,
        tau=TAU,
        gamma=GAMMA,
        train_freq=1,
        gradient_steps=1,
        action_noise=NormalActionNoise(np.zeros(shape), np.full(shape, task.exploration_noise)),
        policy_delay=POLICY_DELAY,
        target_policy_noise=TARGET_NOISE,
        target_noise_clip=TARGET_NOISE_CLIP,
        policy_kwargs={"net_arch": list(HIDDENS)},
        seed=seed,
        device="cpu",
    )
    started = time.perf_counter()
    model.learn(task.steps)
    seconds = time.perf_counter() - started
    return Trained(lambda obs: model.predict(obs, deterministic=True)[0], seconds)


def _configure_own(name: str, task: Task) -> TD3Config:
    return (
        TD3Config()
        .environment(name)
        .training(
            gamma=GAMMA,
            actor_lr=LEARNING_RATE,
            critic_lr=LEARNING_RATE,
            batch_size=BATCH_SIZE,
            tau=TAU,
            policy_delay=POLICY_DELAY,
            target_noise=TARGET_NOISE,
            target_noise_clip=TARGET_NOISE_CLIP,
            exploration_steps=RANDOM_STEPS,
            exploration_noise=task.exploration_noise,
            replay_capacity=task.steps,
            actor_hiddens=HIDDENS,
            critic_hiddens=HIDDENS,
            steps_per_iteration=task.steps,
        )
    )


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


def test_every_policy_is_evaluated_in_the_same_episodes():
    """A policy without torque gets the same return twice, one with full torque another."""
    still, again, full = (
        evaluate("Pendulum-v1", lambda obs, torque=torque: np.array([torque], np.float32))
        for torque in (0.0, 0.0, 2.0)
    )

    assert still == again != full


def test_the_difference_of_returns_is_paired_by_seed():
    """Returns of -200 and -100 against -210 and -110: the difference is 10 for every seed."""
    returns = {"own": [-200.0, -100.0], "sb3_td3": [-210.0, -110.0]}
    rows = {row["name"]: row for row in _make_return_rows("T", Task(1000, 0.1), returns)}

    assert rows["gymnasium.T.return"]["value"] == -150
    assert rows["gymnasium.T.return_sb3_td3"]["value"] == -160
    difference = rows["gymnasium.T.return_difference"]
    assert [difference[key] for key in ("value", "low", "high")] == [10, 10, 10]
    assert difference["seeds"] == 2


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("ray_session")
def test_both_implementations_swing_the_pendulum_up(is_full_study, show_rows):
    """A policy without torque earns about -1,200; after 4,000 steps both earn much more."""
    if is_full_study:
        tasks, seeds, steps = list(TASKS), 5, None
    else:
        tasks, seeds, steps = ["Pendulum-v1"], 1, 4000
    found = show_rows(run(tasks=tasks, seeds=seeds, steps=steps, on_message=print))
    for suffix in ("", "_sb3_td3"):
        assert found[f"gymnasium.Pendulum-v1.return{suffix}"]["value"] > -800
