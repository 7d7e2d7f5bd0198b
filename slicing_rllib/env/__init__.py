"""The network as a multi-agent environment with one agent per cell.

`SlicingEnv` implements PettingZoo's `ParallelEnv` and the columnar interface `ColumnarEnv`.
"""

from slicing_rllib.env.columns import ColumnarEnv, Counterfactual, StepColumns
from slicing_rllib.env.deployment import Deployment
from slicing_rllib.env.observation import MESSAGES, ObservationLayout
from slicing_rllib.env.policy import DecisionView, Policy
from slicing_rllib.env.reward import satisfaction, slice_reward
from slicing_rllib.env.slicing_env import SlicingEnv

__all__ = [
    "MESSAGES",
    "ColumnarEnv",
    "Counterfactual",
    "DecisionView",
    "Deployment",
    "ObservationLayout",
    "Policy",
    "SlicingEnv",
    "StepColumns",
    "satisfaction",
    "slice_reward",
]
