"""The trained actors of all cells as one policy."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float32
from scipy.special import softmax

from slicing_rllib.env import ActorForm, DecisionView
from slicing_rllib.policies.layers import Layer, list_layers


class TrainedPolicy:
    """Decides the splits of all cells by their actors, without exploration noise.

    Actors of equal shapes are stacked, so that one matrix product per layer serves all of them.

    Args:
        cells: names of the cells, in the order of the rows of observations.
        weights: the weights of each cell's networks, by parameter name.
        form: what is built around the actors' layers; by default nothing.

    Raises: ValueError if a cell has no weights.
    """

    def __init__(
        self,
        cells: Sequence[str],
        weights: Mapping[str, Mapping[str, np.ndarray]],
        form: ActorForm | None = None,
    ) -> None:
        missing = [cell for cell in cells if cell not in weights]
        if missing:
            raise ValueError(f"policies: expected one for each cell, none for {missing[0]}")
        actors = [list_layers(weights[cell]) for cell in cells]
        self._form = form or ActorForm(len(actors[0][-1].bias))
        self._groups = [
            (np.array(rows), _stack_layers([actors[row] for row in rows]))
            for rows in _group_by_shape(actors)
        ]

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        """Shares of each cell's carrier, from the observations of `view`."""
        return self.compute_actions(view.obs)

    def compute_actions(
        self, obs: Float32[np.ndarray, "cell obs"]
    ) -> Float32[np.ndarray, "cell action"]:
        """Shares of each cell's carrier, with a sum of 1 per cell; -1 to 1 with `tanh`."""
        actions = [compute_actions(self._form, layers, obs[rows]) for rows, layers in self._groups]
        order = np.argsort(np.concatenate([rows for rows, _ in self._groups]))
        return np.concatenate(actions)[order]


class BasePolicySplit:
    """The split that a run's actors correct: what a cell does before it has learned anything.

    It reads the last columns of an observation, so it needs one that is widened or per_slice.
    """

    def __init__(self, n_slices: int) -> None:
        """`n_slices` is the number of slices of every cell."""
        self._n_slices = n_slices

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        """Shares of each cell's carrier."""
        return softmax(view.obs[:, -self._n_slices :], axis=1)


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


def compute_actions(
    form: ActorForm,
    layers: Sequence[tuple[np.ndarray, np.ndarray]],
    obs: Float32[np.ndarray, "cell obs"],
) -> Float32[np.ndarray, "cell action"]:
    """Softmax of the actors' logits, or their tanh.

    Computed in float64, so that float32 shares do not depend on the order in which a library adds
    numbers: evaluation and ONNX Runtime give the same. Near saturation, the last digit of a share
    changes the fifth digit of a delay.
    """
    logits = compute_logits(form, layers, obs.astype(np.float64))
    actions = np.tanh(logits) if form.squash == "tanh" else softmax(logits, axis=1)
    return actions.astype(np.float32)


def compute_logits(
    form: ActorForm,
    layers: Sequence[tuple[np.ndarray, np.ndarray]],
    obs: Float[np.ndarray, "cell obs"],
) -> Float[np.ndarray, "cell action"]:
    """Forward pass of actors in a form, with ReLU between their layers.

    `layers` are weight (cell, out, in) and bias (cell, out).
    """
    x = obs[:, None] if form.kind == "mlp" else _pool_features(obs, form.n_actions)
    x = np.swapaxes(x, 1, 2)
    for number, (weight, bias) in enumerate(layers):
        x = weight @ x + bias[:, :, None]
        if number < len(layers) - 1:
            x = np.maximum(x, 0)
    logits = x[:, :, 0] if form.kind == "mlp" else x[:, 0]
    return logits if form.base_policy == "none" else logits + obs[:, -form.n_actions :]


def _pool_features(
    obs: Float[np.ndarray, "cell obs"], n_slices: int
) -> Float[np.ndarray, "cell slice feature"]:
    """Each per-slice feature, its mean and its maximum over the slices."""
    features = obs.reshape(len(obs), -1, n_slices).swapaxes(1, 2)
    pooled = [features, features.mean(axis=1, keepdims=True), features.max(axis=1, keepdims=True)]
    return np.concatenate([np.broadcast_to(part, features.shape) for part in pooled], axis=2)
