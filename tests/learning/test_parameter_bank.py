"""A row of the bank and a cell's module are one and the same."""

import torch
from torch import nn

from slicing_rllib.learning.parameter_bank import NetworkSizes, ParameterBank, layer_shapes

SIZES = NetworkSizes((3, 4, 2), (5, 1))


class Actor(nn.Module):
    def __init__(self):
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_names_are_those_of_the_module():
    assert set(layer_shapes(SIZES, ["actor"])) == set(Actor().state_dict())


def test_a_module_lives_in_its_row():
    bank, module = ParameterBank(2, SIZES, ["actor"]), Actor()
    before = module.actor(torch.ones(3))
    bank.adopt(1, module)

    assert torch.equal(module.actor(torch.ones(3)), before)
    bank.flat[1] = 0
    assert torch.equal(module.actor(torch.ones(3)), torch.zeros(2))
    module.load_state_dict({name: torch.ones_like(p) for name, p in module.state_dict().items()})
    assert bank.flat[1].sum() == bank.flat.shape[1]
    assert bank.flat[0].sum() == 0


def test_layers_are_views_of_the_rows():
    bank = ParameterBank(2, SIZES, ["actor", "critic_1"])
    weight, bias = bank.layers("critic_1")[0]
    bank.flat[1, bank.span("critic_1")] = torch.arange(6.0)

    assert weight[1].tolist() == [[0, 1, 2, 3, 4]]
    assert bias[1].tolist() == [5]
