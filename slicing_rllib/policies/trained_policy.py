"""The trained actors of all cells as one policy."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float32
from scipy.special import softmax

from slicing_rllib.env import DecisionView
from slicing_rllib.policies.layers import Layer, list_layers


class TrainedPolicy:
    """Decides the splits of all cells by their actors, without exploration noise.

    Actors of equal shapes are stacked, so that one matrix product per layer serves all of them.

    Args:
        cells: names of the cells, in the order of the rows of observations.
        weights: the weights of each cell's networks, by parameter name.

    Raises: ValueError if a cell has no weights.
    """

    def __init__(
        self, cells: Sequence[str], weights: Mapping[str, Mapping[str, np.ndarray]]
    ) -> None:
        missing = [cell for cell in cells if cell not in weights]
        if missing:
            raise ValueError(f"policies: expected one for each cell, none for {missing[0]}")
        actors = [list_layers(weights[cell]) for cell in cells]
        self._groups = [
            (np.array(rows), _stack_layers([actors[row] for row in rows]))
            for rows in _group_by_shape(actors)
        ]

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        """Shares of each cell's carrier, from the observations of `view`."""
        return self.actions(view.obs)

    def actions(self, obs: Float32[np.ndarray, "cell obs"]) -> Float32[np.ndarray, "cell action"]:
        """Shares of each cell's carrier, with a sum of 1 per cell."""
        shares = [_compute_shares(layers, obs[rows]) for rows, layers in self._groups]
        order = np.argsort(np.concatenate([rows for rows, _ in self._groups]))
        return np.concatenate(shares)[order]


def _group_by_shape(actors: Sequence[Sequence[Layer]]) -> list[list[int]]:
    """Indices of the actors, in groups with equal shapes of all layers."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for index, layers in enumerate(actors):
        shapes = tuple(array.shape for layer in layers for array in layer)
        groups.setdefault(shapes, []).append(index)
    return list(groups.values())


def _stack_layers(actors: Sequence[Sequence[Layer]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weight and bias of each layer of actors with equal shapes, with a leading axis for cells."""
    return [
        (np.stack([layer.weight for layer in layers]), np.stack([layer.bias for layer in layers]))
        for layers in zip(*actors, strict=True)
    ]


def _compute_shares(
    layers: Sequence[tuple[np.ndarray, np.ndarray]], obs: Float32[np.ndarray, "cell obs"]
) -> Float32[np.ndarray, "cell action"]:
    """Forward pass: ReLU between layers, softmax at the end."""
    x = obs[:, :, None]
    for number, (weight, bias) in enumerate(layers):
        x = weight @ x + bias[:, :, None]
        if number < len(layers) - 1:
            x = np.maximum(x, 0)
    return softmax(x[:, :, 0], axis=1)
