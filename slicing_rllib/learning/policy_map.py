"""Which policy each agent follows, and so whose replay buffer its steps go to.

By default every agent has a policy of its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module import validate_module_id
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode

from slicing_rllib.learning.adapters import SINGLE_AGENT
from slicing_rllib.learning.rl_module import AgentSpaces, SpaceError, natural_key
from slicing_rllib.learning.sampled_env import SamplingSettings


class PolicyMap:
    """Agents and policies in natural order, and the row of each agent's policy."""

    def __init__(self, agents: Sequence[str], policies: Sequence[str]) -> None:
        """`policies` names the policy of each agent.

        Raises: ValueError for a policy whose name cannot be that of a folder.
        """
        for agent, policy in zip(agents, policies, strict=True):
            try:
                validate_module_id(policy, error=True)
            except ValueError as error:
                raise ValueError(
                    f"agent {agent}: policy {policy!r} cannot be the name of a folder; "
                    "multi_agent(policy_mapping_fn=...) can give it another name"
                ) from error
        self.agents = tuple(agents)
        self.policies = tuple(sorted(set(policies), key=natural_key))
        row = {policy: number for number, policy in enumerate(self.policies)}
        self.rows = np.array([row[policy] for policy in policies])
        """Per agent, the row of its policy."""
        self.is_one_to_one = bool(np.array_equal(self.rows, np.arange(len(self.policies))))
        """Whether the rows of agents are those of their policies."""

    def find_policy(self, agent: str) -> str:
        return self.policies[self.rows[self.agents.index(agent)]]

    def expand(self, settings: SamplingSettings) -> SamplingSettings:
        """Settings per agent from those per policy."""
        if self.is_one_to_one:
            return settings
        guarded = np.flatnonzero(np.isin(self.rows, settings.guarded_rows)).tolist()
        return SamplingSettings(
            settings.explores[self.rows], settings.noise_sigma[self.rows], tuple(guarded)
        )

    def any_agent(self, agents: np.ndarray) -> np.ndarray:
        """Per policy, whether the claim holds for any of its agents."""
        if self.is_one_to_one:
            return agents
        found = np.zeros(len(self.policies), bool)
        np.logical_or.at(found, self.rows, agents)
        return found

    def share_spaces(self, agents: Sequence[AgentSpaces]) -> dict[str, tuple[Any, Any]]:
        """Observation and action space of each policy.

        Raises: SpaceError where agents of one policy differ in them.
        """
        found: dict[str, AgentSpaces] = {}
        for spaces, row in zip(agents, self.rows, strict=True):
            policy = self.policies[row]
            first = found.setdefault(policy, spaces)
            if (first.obs, first.action) != (spaces.obs, spaces.action):
                raise SpaceError(
                    f"agents {first.agent} and {spaces.agent} share policy {policy}: expected "
                    f"equal spaces, got {first.obs}, {first.action} and {spaces.obs}, "
                    f"{spaces.action}"
                )
        return {name: (own.module_obs, own.action) for name, own in found.items()}

    def group_agents(self) -> list[tuple[Any, np.ndarray]]:
        """Every agent once, in groups without two agents of the same policy.

        A group has, per policy, the row of its agent and whether it has one at all; transitions of
        a group can be stored together.
        """
        if self.is_one_to_one:
            return [(slice(None), np.ones(len(self.policies), bool))]
        by_policy = [np.flatnonzero(self.rows == row) for row in range(len(self.policies))]
        groups = []
        for number in range(max(map(len, by_policy))):
            exists = np.array([len(own) > number for own in by_policy])
            agents = np.array([own[min(number, len(own) - 1)] for own in by_policy])
            groups.append((agents, exists))
        return groups

    def locate(self, cells: Sequence[str]) -> tuple[Any, Any]:
        """Rows of the agents that follow these policies, and the position of each one's policy.

        A full slice and None where agents and policies are the same, which needs no copy.
        """
        if self.is_one_to_one and tuple(cells) == self.policies:
            return slice(None), None
        position = {policy: number for number, policy in enumerate(cells)}
        own = [
            (agent, position[self.policies[row]])
            for agent, row in enumerate(self.rows)
            if self.policies[row] in position
        ]
        agents, positions = np.array(own, np.int64).reshape(-1, 2).T
        is_each_once = np.array_equal(positions, np.arange(len(cells)))
        return agents, None if is_each_once else positions


def map_policies(
    agents: Mapping[str, Any], mapping: Callable[..., str] | None, policies: Iterable[str] | None
) -> PolicyMap:
    """The map that RLlib's settings describe.

    `agents` has the environment's own name by ours. `mapping` is RLlib's `policy_mapping_fn`; None
    gives every agent a policy of its own. `policies` names all of them, if the user gave them.

    Raises: ValueError where a policy is unknown, has no agent, or is not the same in all episodes.
    """
    names = []
    for agent, own_name in agents.items():
        if mapping is None:
            names.append(DEFAULT_MODULE_ID if agent == SINGLE_AGENT else agent)
            continue
        answers = {mapping(own_name, MultiAgentEpisode(id_=str(number))) for number in range(8)}
        if len(answers) > 1:
            raise ValueError(
                f"policy_mapping_fn: expected the same policy for agent {own_name!r} in all "
                f"episodes, got {' and '.join(sorted(map(str, answers)))}"
            )
        names.append(str(answers.pop()))
    known = set(names) if policies is None else set(policies)
    if missing := sorted(set(names) - known):
        raise ValueError(
            f"policies: expected all that policy_mapping_fn returns, {', '.join(missing)} is "
            "missing"
        )
    if unused := sorted(known - set(names)):
        raise ValueError(f"policies: expected an agent for each, none follows {', '.join(unused)}")
    return PolicyMap(tuple(agents), names)
