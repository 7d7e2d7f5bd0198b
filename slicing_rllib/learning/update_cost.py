"""How much an update computes, and so how many of torch's threads it is worth."""

import math
from collections.abc import Sequence

from slicing_rllib.learning.parameter_bank import NetworkSizes, list_layer_shapes

FEWEST_FLOPS_FOR_THREADS = 9.5e7
"""Floating-point operations of an update below which torch uses one thread. In smaller updates,
threads cost more than they gain: measured up to ten times as much on a busy machine. 48 cells of
the paper's networks are just above."""


def is_worth_threads(groups: Sequence[tuple[NetworkSizes, int]], batch_size: int) -> bool:
    """Whether more than one thread makes an update faster.

    Args:
        groups: The sizes of networks, and how many cells have networks of that size.
        batch_size: Transitions of each cell in an update.
    """
    total = sum(cells * count_update_flops(sizes, batch_size) for sizes, cells in groups)
    return total >= FEWEST_FLOPS_FOR_THREADS


def count_update_flops(sizes: NetworkSizes, batch_size: int) -> float:
    """Floating-point operations of one update of one cell, in its matrix products.

    Two per parameter and transition in each forward and each backward pass.
    """
    actor, critic = (
        sum(math.prod(shape) for shape in list_layer_shapes(widths).values())
        for widths in (sizes.actor, sizes.critic)
    )
    # Critics: two targets forward, two forward and backward. Actor: target, and itself.
    return 2.0 * batch_size * (8 * critic + 4 * actor)
