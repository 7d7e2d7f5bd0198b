"""A row of the bank and a cell's module are one and the same."""

import torch
from torch import nn

from slicing_rllib.env import ActorForm
from slicing_rllib.learning.stacked_networks import ALIGNMENT, NetworkSizes, ParameterBank

SIZES = NetworkSizes((3, 4, 2), (5, 1), ActorForm(2))


class Actor(nn.Module):
    def __init__(self):
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_names_are_those_of_the_module():
    bank = ParameterBank(1, SIZES, ["actor"])

    assert {name for name, _ in bank.iterate_row(0)} == set(Actor().state_dict())


def test_a_module_lives_in_its_row():
    bank, module = ParameterBank(2, SIZES, ["actor"]), Actor()
    before = module.actor(torch.ones(3))
    bank.adopt(1, module)

    assert torch.equal(module.actor(torch.ones(3)), before)
    bank.flat["actor"][1] = 0
    assert torch.equal(module.actor(torch.ones(3)), torch.zeros(2))
    module.load_state_dict({name: torch.ones_like(p) for name, p in module.state_dict().items()})
    assert all(view.eq(1).all() for _, view in bank.iterate_row(1))
    assert bank.flat["actor"][0].sum() == 0


def test_layers_are_views_of_the_rows():
    """Rows of layers go cell by cell, its twins together."""
    bank = ParameterBank(2, SIZES, ["critics"])
    weight, bias = bank.layers("critics")[0]
    named = dict(bank.iterate_row(1))
    named["critic_1.0.weight"].copy_(torch.arange(5.0))
    named["critic_1.0.bias"].fill_(5)

    assert weight[2].tolist() == [[0, 1, 2, 3, 4]]
    assert bias[2].tolist() == [5]
    assert weight[3].sum() == 0


def test_every_parameter_begins_a_cache_line():
    """So that a cell's sums don't depend on the row that it stands in."""
    bank = ParameterBank(3, SIZES)

    for row in range(3):
        assert all(view.data_ptr() % (4 * ALIGNMENT) == 0 for _, view in bank.iterate_row(row))
