"""Layers of a network from saved weights."""

import numpy as np
import pytest

from slicing_rllib.policies import list_layers

WEIGHTS = {
    "actor.10.weight": np.ones((4, 8)),
    "actor.10.bias": np.ones(4),
    "actor.2.weight": np.zeros((8, 16)),
    "actor.2.bias": np.zeros(8),
    "critic_1.0.weight": np.zeros((1, 20)),
    "critic_1.0.bias": np.zeros(1),
}


def test_layers_come_in_the_order_of_their_numbers():
    """2 comes before 10, although "10" comes before "2" as a string."""
    layers = list_layers(WEIGHTS)

    assert [layer.weight.shape for layer in layers] == [(8, 16), (4, 8)]
    assert layers[1].bias is WEIGHTS["actor.10.bias"]


def test_another_network_of_the_same_weights():
    assert [layer.weight.shape for layer in list_layers(WEIGHTS, "critic_1")] == [(1, 20)]


def test_weights_without_the_network_raise_an_error():
    with pytest.raises(ValueError, match="expected a network 'target_actor'"):
        list_layers(WEIGHTS, "target_actor")
