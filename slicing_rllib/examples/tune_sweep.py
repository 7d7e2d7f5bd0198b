"""Ray Tune searches the learning rate of the actors; a trial ends early where others are better.

    python -m slicing_rllib.examples.tune_sweep

On the command line: `slicing-rllib sweep learning_rates`.
"""

import logging
import sys

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from slicing_rllib.learning import TD3, TD3Config


def main(iterations: int = 20, trials: int = 4) -> None:
    """Prints the best learning rate and its reward."""
    ray.init(include_dashboard=False, logging_level=logging.ERROR)
    config = (
        TD3Config()
        .environment("slicing", env_config={"scenario": "paper", "map_seed": 0})
        .training(
            actor_lr=tune.loguniform(1e-4, 1e-2), exploration_steps=100, steps_per_iteration=50
        )
        .env_runners(num_env_runners=0)
    )
    tuner = tune.Tuner(
        TD3,
        param_space=config.to_dict(),
        tune_config=tune.TuneConfig(
            metric="reward_mean", mode="max", num_samples=trials,
            scheduler=ASHAScheduler(max_t=iterations, grace_period=min(5, iterations)),
        ),
        run_config=tune.RunConfig(stop={"training_iteration": iterations}, verbose=0),
    )  # fmt: skip
    best = tuner.fit().get_best_result()
    rate, found = (best.config or {})["actor_lr"], best.metrics or {}
    print(f"actor_lr {rate:.2g}: reward {found['reward_mean']:.3f}")
    ray.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
