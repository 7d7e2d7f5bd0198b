"""Trained actors as a policy for evaluation and serving, in NumPy alone."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float32

from slicing_rllib.env import DecisionView

Layers = list[tuple[np.ndarray, np.ndarray]]


class TrainedPolicy:
    """Every cell's actor without noise.

    Raises: ValueError where a cell has none.
    """

    def __init__(
        self, cells: Sequence[str], weights: Mapping[str, Mapping[str, np.ndarray]]
    ) -> None:
        missing = [cell for cell in cells if cell not in weights]
        if missing:
            raise ValueError(f"policies: expected one for each cell, none for {missing[0]}")
        alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for row, cell in enumerate(cells):
            names = _layer_names(weights[cell])
            alike.setdefault(tuple(weights[cell][name].shape for name in names), []).append(row)
        self._groups = [
            (np.array(rows), _stacked([weights[cells[row]] for row in rows]))
            for rows in alike.values()
        ]

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        return self.actions(view.obs)

    def actions(self, obs: Float32[np.ndarray, "cell obs"]) -> Float32[np.ndarray, "cell action"]:
        """Shares of each cell's carrier."""
        found = [_shares(layers, obs[rows]) for rows, layers in self._groups]
        order = np.argsort(np.concatenate([rows for rows, _ in self._groups]))
        return np.concatenate(found)[order]


def _shares(layers: Layers, obs: np.ndarray) -> np.ndarray:
    x = obs[:, :, None]
    for number, (weight, bias) in enumerate(layers):
        x = weight @ x + bias[:, :, None]
        if number < len(layers) - 1:
            x = np.maximum(x, 0)
    logits = x[:, :, 0]
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def _stacked(weights: Sequence[Mapping[str, np.ndarray]]) -> Layers:
    """(cell, ...) weight and bias of each layer of actors of one shape."""
    stacked = [np.stack([one[name] for one in weights]) for name in _layer_names(weights[0])]
    return list(zip(stacked[::2], stacked[1::2], strict=True))


def _layer_names(weights: Mapping[str, np.ndarray]) -> list[str]:
    """Weight and bias of each of the actor's layers in turn, whichever order a file has them in."""
    numbers = sorted({int(name.split(".")[1]) for name in weights if name.startswith("actor.")})
    return [f"actor.{number}.{part}" for number in numbers for part in ("weight", "bias")]
