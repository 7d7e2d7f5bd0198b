"""An own rule is evaluated beside the built-in ones, on the same traffic.

    python -m slicing_rllib.examples.own_baseline

For a run that is trained already, with a copy of this file beside it:

    slicing-rllib evaluate RUN --policies td3,own_baseline:MostUsers --allow-parts own_baseline
"""

import sys

import numpy as np

from slicing_rllib.env import DecisionView, SlicingEnv
from slicing_rllib.evaluation.rollout import rollout
from slicing_rllib.policies.baselines import divide_in_proportion, make_policy
from slicing_rllib.radio import Scenario, make_scenario


class MostUsers:
    """Shares in proportion to the active UEs times what the SLA promises each of them."""

    def __init__(self, scenario: Scenario) -> None:
        self.sla_mbps = scenario.sla_throughput_mbps

    def prb_ratio(self, view: DecisionView) -> np.ndarray:
        """Each slice's share of its cell's carrier, from the KPIs of the last step."""
        return divide_in_proportion(view.kpis.users * self.sla_mbps)


def main(steps: int = 250, seeds: int = 3) -> None:
    """Prints the mean reward of each rule over the seeds."""
    scenario = make_scenario("paper")
    for name in ("equal", "smoothed_persistence", f"{__name__}:MostUsers"):
        rewards = []
        for seed in range(seeds):
            policy = make_policy(name, scenario, np.random.default_rng(seed), map_seed=seed)
            env = SlicingEnv(scenario, map_seed=seed)
            rewards.append(rollout(env, policy, seed=seed, steps=steps).reward.mean())
        print(f"{name.split(':')[-1]}: {np.mean(rewards):.3f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
