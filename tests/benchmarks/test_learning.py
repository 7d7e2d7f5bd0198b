"""The ways of training that the benchmark compares this project with really train."""

import numpy as np
import pytest
import torch

from slicing_rllib.benchmarks.learning import (
    OneCellTD3,
    Peer,
    Sb3TD3,
    make_bare_loop,
    make_network_sizes,
    make_separate_updates,
)
from slicing_rllib.env import SlicingEnv
from slicing_rllib.learning.stacked_td3 import Batch
from slicing_rllib.radio import make_scenario


@pytest.mark.parametrize("build", [make_bare_loop, make_separate_updates, Sb3TD3])
def test_a_peer_makes_steps(build):
    peer = build(make_scenario("paper"))

    assert isinstance(peer, Peer)
    assert peer.run(0.01) > 0


def test_separate_updates_move_actor_critics_and_targets():
    """Two updates: critics move in both, actor and targets in the second (policy delay 2)."""
    cell = OneCellTD3(make_network_sizes(SlicingEnv(make_scenario("paper"))), seed=0)
    before = {name: p.detach().clone() for name, p in cell.net.named_parameters()}
    rng = np.random.default_rng(0)
    obs_size, action_size = cell.net["actor"][0].in_features, cell.net["actor"][-1].out_features
    columns = [(32, obs_size), (32, action_size), (32,), (32, obs_size)]
    obs, action, reward, next_obs = (
        torch.tensor(rng.random(shape), dtype=torch.float32) for shape in columns
    )
    ended, inputs, noise = torch.zeros(32), torch.zeros(32, 0), torch.zeros(32, action_size)
    batch = Batch(obs, action, reward, next_obs, ended, inputs, noise)

    def list_moved():
        after = dict(cell.net.named_parameters())
        return {name.split(".")[0] for name in before if not after[name].equal(before[name])}

    cell.update(batch)
    assert list_moved() == {"critic_1", "critic_2"}
    cell.update(batch)
    assert len(list_moved()) == 6
