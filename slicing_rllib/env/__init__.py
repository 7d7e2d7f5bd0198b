"""The network as a multi-agent environment with one agent per cell.

`SlicingEnv` implements PettingZoo's `ParallelEnv` and the columnar interface `ColumnarEnv`.
"""

from slicing_rllib.env.actor_form import ActorForm, ActorKind, BasePolicy, Squash
from slicing_rllib.env.columns import ColumnarEnv, LookaheadEnv, RestorableEnv, StepColumns
from slicing_rllib.env.counterfactual import (
    CounterfactualReward,
    NumericalGradient,
    SplitReward,
    needed_share,
    offered_share,
)
from slicing_rllib.env.deployment import Deployment
from slicing_rllib.env.max_min_split import max_min_split
from slicing_rllib.env.measurement import Measured, Measurement, MeasurementError
from slicing_rllib.env.observation import MESSAGES, ObservationLayout
from slicing_rllib.env.observed_network import Network, ObservedNetwork, ObservedSlice
from slicing_rllib.env.policy import DecisionView, Policy
from slicing_rllib.env.reward import satisfaction, slice_reward
from slicing_rllib.env.slicing_env import SlicingEnv
from slicing_rllib.env.widened_observation import OBSERVATIONS

__all__ = [
    "MESSAGES",
    "OBSERVATIONS",
    "ActorForm",
    "ActorKind",
    "BasePolicy",
    "ColumnarEnv",
    "CounterfactualReward",
    "DecisionView",
    "Deployment",
    "LookaheadEnv",
    "Measured",
    "Measurement",
    "MeasurementError",
    "Network",
    "NumericalGradient",
    "ObservationLayout",
    "ObservedNetwork",
    "ObservedSlice",
    "Policy",
    "RestorableEnv",
    "SlicingEnv",
    "SplitReward",
    "Squash",
    "StepColumns",
    "max_min_split",
    "needed_share",
    "offered_share",
    "satisfaction",
    "slice_reward",
]
