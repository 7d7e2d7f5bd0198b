"""Operations of an update are counted, and decide about threads."""

from slicing_rllib.env import ActorForm
from slicing_rllib.learning.learner import count_update_flops
from slicing_rllib.learning.stacked_networks import NetworkSizes


def test_operations_of_an_update_are_counted_by_hand():
    """Actor 2-3-1: 13 parameters; critics 3-1: 4. 2 * 5 transitions * (8 * 4 + 4 * 13) = 840."""
    sizes = NetworkSizes((2, 3, 1), (3, 1), ActorForm(1))

    assert count_update_flops(sizes, batch_size=5) == 840
