"""Messages: what each cell learns about the load of other cells, as a row of fixed width."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from slicing_rllib.env.protocols import Network

Load = Float[np.ndarray, "cell slice"]
Message = Callable[[Load], Float[np.ndarray, "cell message"]]
"""Computes the message that each cell receives, from the load of all cells."""


def mean_load(neighbours: Int[np.ndarray, "cell neighbour"]) -> Message:
    """c_k = 1/|K_k| * sum of l_i over the neighbours i of k, per slice; 0 without neighbours.

    Source: the paper, eq. (5).
    """
    present = neighbours >= 0
    weight = 1.0 / np.maximum(present.sum(axis=1, keepdims=True), 1)
    return lambda load: (load[neighbours] * present[:, :, None]).sum(axis=1) * weight


def per_neighbour(neighbours: Int[np.ndarray, "cell neighbour"]) -> Message:
    """The load of each neighbour, most strongly coupled neighbour first."""
    present = neighbours >= 0
    return lambda load: (load[neighbours] * present[:, :, None]).reshape(len(load), -1)


def all_cells(load: Load) -> Float[np.ndarray, "cell message"]:
    """The load of every cell of the network: the same row for all cells."""
    return np.broadcast_to(load.reshape(1, -1), (len(load), load.size))


def no_message(load: Load) -> Float[np.ndarray, "cell message"]:
    """An empty message: cells do not exchange their load."""
    return np.empty((len(load), 0))


MESSAGES: dict[str, Callable[[Network], Message]] = {
    "none": lambda _: no_message,
    "mean_load": lambda network: mean_load(network.neighbours),
    "per_neighbour": lambda network: per_neighbour(network.neighbours),
    "all_cells": lambda _: all_cells,
}
"""The messages by name, for the neighbours of a network."""


def make_message(name: str, network: Network) -> Message:
    """The message with that name. Raises: ValueError for a name that is not in MESSAGES."""
    if name not in MESSAGES:
        raise ValueError(f"message: expected one of {', '.join(MESSAGES)}, got {name!r}")
    return MESSAGES[name](network)
