"""Which policy each agent follows."""

import numpy as np
import pytest

from slicing_rllib.learning.policy_map import PolicyMap, map_policies
from slicing_rllib.learning.sampled_env import SamplingSettings

AGENTS = {"cell_1": "cell_1", "cell_2": "cell_2", "cell_10": "cell_10"}


def test_by_default_each_agent_has_a_policy_of_its_name():
    policies = map_policies(AGENTS, None, None)

    assert policies.policies == ("cell_1", "cell_2", "cell_10")
    assert policies.is_one_to_one


def test_a_single_agents_policy_has_rllibs_name():
    assert map_policies({"default_agent": "x"}, None, None).policies == ("default_policy",)


def test_the_mapping_is_asked_with_the_environments_own_names():
    asked = []

    def mapping(agent, episode):
        asked.append(agent)
        return f"of_{agent % 2}"

    policies = map_policies({"1": 1, "2": 2, "3": 3}, mapping, None)

    assert policies.policies == ("of_0", "of_1")
    assert policies.rows.tolist() == [1, 0, 1]
    assert set(asked) == {1, 2, 3}


def test_a_mapping_that_changes_with_the_episode_is_refused():
    with pytest.raises(
        ValueError, match="policy_mapping_fn: expected the same policy for agent 'c"
    ):
        map_policies(AGENTS, lambda agent, episode: f"p{episode.id_}", None)


def test_policies_and_mapping_must_name_the_same():
    def mapping(agent, episode):
        return "a"

    with pytest.raises(ValueError, match="policies: expected an agent for each, none follows b"):
        map_policies(AGENTS, mapping, ["a", "b"])
    with pytest.raises(ValueError, match=r"policies: expected all that .*, a is missing"):
        map_policies(AGENTS, mapping, ["b"])


def test_names_that_no_folder_can_have_are_refused():
    with pytest.raises(ValueError, match=r"agent a/b: policy 'a/b' cannot be the name of a folder"):
        map_policies({"a/b": "a/b"}, None, None)


def test_settings_of_a_policy_are_those_of_its_agents():
    policies = PolicyMap(("a", "b", "c"), ("p", "q", "p"))
    expanded = policies.expand(
        SamplingSettings(np.array([True, False]), np.array([0.1, 0.2], np.float32), (0,))
    )

    assert expanded.explores.tolist() == [True, False, True]
    assert expanded.noise_sigma.tolist() == pytest.approx([0.1, 0.2, 0.1])
    assert expanded.guarded_rows == (0, 2)
    assert policies.any_agent(np.array([False, False, True])).tolist() == [True, False]


def test_groups_contain_every_agent_once_and_no_policy_twice():
    policies = PolicyMap(("a", "b", "c", "d"), ("p", "q", "p", "p"))
    groups = policies.group_agents()
    agents = [
        int(agent) for group in groups for agent, exists in zip(*group, strict=True) if exists
    ]

    assert sorted(agents) == [0, 1, 2, 3]
    assert [exists.tolist() for _, exists in groups] == [
        [True, True],
        [True, False],
        [True, False],
    ]
