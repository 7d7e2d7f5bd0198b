"""Stores network steps in the replay buffers of the policies that the agents follow."""

import numpy as np

from slicing_rllib.learning.policy_map import PolicyMap
from slicing_rllib.learning.replay import Replay, Transitions
from slicing_rllib.learning.sampled_env import Step


class Experience:
    """Each transition goes to its policy; agents that share a policy share its buffer."""

    def __init__(self, policies: PolicyMap, replay: Replay, default_action_replay: Replay) -> None:
        """The buffers have a row per policy; the second keeps what happened under the default."""
        self._groups = policies.group_agents()
        self._is_one_to_one = policies.is_one_to_one
        self._replay, self._default_action_replay = replay, default_action_replay

    def store(self, step: Step) -> None:
        """Add one network step."""
        under_default_action = step.present & ~step.decided
        if self._is_one_to_one:
            self._add(step.transitions, step.present, under_default_action)
            return
        for agents, exists in self._groups:
            transitions = Transitions(*(column[agents] for column in step.transitions))
            present, by_default = step.present[agents], under_default_action[agents]
            self._add(transitions, present & exists, by_default & exists)

    def _add(self, transitions: Transitions, present: np.ndarray, by_default: np.ndarray) -> None:
        self._replay.add(transitions, present)
        if by_default.any():
            self._default_action_replay.add(transitions, by_default)
