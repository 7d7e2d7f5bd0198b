"""RLlib's own PPO on the network of cells: one policy for all of them.

python -m slicing_rllib.examples.rllib_ppo
"""

import logging
import sys

import ray
from ray.rllib.algorithms.ppo import PPOConfig

import slicing_rllib


def share_one_policy(*agent_and_episode: object, **rest: object) -> str:
    return "shared"


def main(iterations: int = 10, steps: int = 300) -> None:
    """Prints the return of the episodes of each iteration."""
    ray.init(include_dashboard=False, logging_level=logging.ERROR)
    slicing_rllib.register_rllib()
    algorithm = (
        PPOConfig()
        .environment("slicing", env_config={"scenario": "paper", "episode_steps": 100})
        .env_runners(num_env_runners=0)
        .multi_agent(policies={"shared"}, policy_mapping_fn=share_one_policy)
        .training(train_batch_size_per_learner=steps, minibatch_size=steps, num_epochs=5)
        .build_algo()
    )
    for _ in range(iterations):
        found = algorithm.train()
        print(f"{found['env_runners']['episode_return_mean']:.1f}")
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
