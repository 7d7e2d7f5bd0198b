"""The SLA of one cell changes while rules divide the carriers: what happens to its reward.

    python -m slicing_rllib.examples.sla_change

In a config: `events: [{step: 100, cell: cell_3, sla: {...}}]` under `env`.
"""

import sys

import numpy as np

from slicing_rllib.env import SlicingEnv
from slicing_rllib.evaluation.rollout import rollout
from slicing_rllib.policies.baselines import make_policy
from slicing_rllib.radio import make_scenario

STRICTER = {"throughput_mbps": 8.0, "delay_ms": 1.0}


def main(steps: int = 200) -> None:
    """Prints the mean reward of the cell before and after its first slice is promised more."""
    scenario = make_scenario("paper")
    change = {
        "step": steps // 2,
        "cell": "cell_3",
        "slice": scenario.slices[0].name,
        "sla": STRICTER,
    }
    for name in ("equal", "smoothed_persistence"):
        policy = make_policy(name, scenario, np.random.default_rng(0), map_seed=0)
        env = SlicingEnv(scenario, map_seed=0, events=[change])
        reward = rollout(env, policy, steps, seed=1).reward[:, scenario.cells.index("cell_3")]
        before, after = reward[: steps // 2].mean(), reward[steps // 2 :].mean()
        print(f"{name}: {before:.3f} before, {after:.3f} after")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
