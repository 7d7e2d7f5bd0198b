"""TD3 of Stable-Baselines3 learns one cell, while a rule divides the carriers of the others.

python -m slicing_rllib.examples.sb3_cell
"""

import sys

import gymnasium
import numpy as np
from stable_baselines3 import TD3

import slicing_rllib.policies  # noqa: F401  registers the environment


def main(steps: int = 2000) -> None:
    """Prints the cell's mean reward before and after learning, on the same traffic."""
    env = gymnasium.make("slicing/cell-v0", scenario="paper", cell="cell_3", others="equal")
    learner = TD3("MlpPolicy", env, gamma=0.1, learning_starts=min(500, steps // 2), seed=0)
    before = evaluate(learner, env)
    learner.learn(steps)
    print(f"before {before:.3f}, after {evaluate(learner, env):.3f}")


def evaluate(learner: TD3, env: gymnasium.Env, steps: int = 100) -> float:
    obs, _ = env.reset(seed=99)
    rewards = []
    for _ in range(steps):
        obs, reward, *_ = env.step(learner.predict(obs, deterministic=True)[0])
        rewards.append(reward)
    return float(np.mean(rewards))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
