"""The same TD3 on a Gymnasium task, by this project and by Stable-Baselines3."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

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
    # Only this benchmark needs Stable-Baselines3, which users need not have installed.
    from stable_baselines3 import TD3 as Sb3TD3
    from stable_baselines3.common.noise import NormalActionNoise

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
