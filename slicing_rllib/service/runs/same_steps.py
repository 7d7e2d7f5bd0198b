"""What other splits would have earned in the very steps that a run has trained on.

Rewards in training swing with traffic, so they say little beside baselines on other traffic. What a
step measured gives the reward of any split in that step, with all neighbours as they were.
"""

from collections.abc import Sequence

import numpy as np

from slicing_rllib.env import SplitReward, max_min_split
from slicing_rllib.learning import TD3
from slicing_rllib.learning.sampled_env import Step

EQUAL, BEST = "equal", "best_split"
"""Equal shares, and the split that is best for a cell while its neighbours keep theirs."""


def compute_same_step_rewards(algorithm: TD3) -> dict[str, float]:
    """Mean reward of equal and of best splits over the last iteration's (cell, step).

    Empty for an iteration without steps, or where splits cannot be compared.
    """
    steps: Sequence[Step] = algorithm.last_steps
    if not steps or not isinstance(algorithm.env.counterfactual, SplitReward):
        return {}
    live = np.stack([step.live for step in steps])
    feedback = np.stack([step.transitions.feedback for step in steps])[live].astype(np.float64)
    if not len(feedback):
        return {}
    offered, needed = np.split(feedback, 2, axis=1)
    splits = {
        EQUAL: np.full_like(offered, 1 / offered.shape[1]),
        BEST: max_min_split(offered, needed),
    }
    reward = algorithm.env.counterfactual.reward
    return {name: float(reward(feedback, split).mean()) for name, split in splits.items()}
