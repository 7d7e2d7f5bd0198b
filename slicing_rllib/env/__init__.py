"""The network as a multi-agent environment with one agent per cell.

`SlicingEnv` implements PettingZoo's `ParallelEnv` and the batched interface `BatchedEnv`.
"""

import gymnasium

from slicing_rllib.env.actions import ACTIONS
from slicing_rllib.env.actor_form import ActorForm, Heard, Squash
from slicing_rllib.env.measurement import Measured, Measurement, MeasurementError
from slicing_rllib.env.protocols import (
    BatchedEnv,
    BatchedStep,
    DecisionView,
    LookaheadEnv,
    Network,
    ObservedNetwork,
    ObservedSlice,
    Policy,
    RestorableEnv,
)
from slicing_rllib.env.rewards import (
    CounterfactualReward,
    NumericalGradient,
    SplitReward,
    max_min_split,
    needed_share,
    offered_share,
    satisfaction,
    slice_reward,
)
from slicing_rllib.env.slicing_env import SlicingEnv
from slicing_rllib.env.timed_events import Deployment, TimedEvent

__all__ = [
    "ACTIONS",
    "ActorForm",
    "BatchedEnv",
    "BatchedStep",
    "CounterfactualReward",
    "DecisionView",
    "Deployment",
    "Heard",
    "LookaheadEnv",
    "Measured",
    "Measurement",
    "MeasurementError",
    "Network",
    "NumericalGradient",
    "ObservedNetwork",
    "ObservedSlice",
    "Policy",
    "RestorableEnv",
    "SlicingEnv",
    "SplitReward",
    "Squash",
    "TimedEvent",
    "max_min_split",
    "needed_share",
    "offered_share",
    "satisfaction",
    "slice_reward",
]

for _id, _class in (("slicing/cell-v0", "CellEnv"), ("slicing/central-v0", "CentralEnv")):
    gymnasium.register(  # pyright: ignore[reportUnknownMemberType]
        _id, entry_point=f"slicing_rllib.policies.gymnasium_envs:{_class}"
    )
