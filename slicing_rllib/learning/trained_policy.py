"""Trained actors as a policy for evaluation and serving, in NumPy alone."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Float32

from slicing_rllib.env import DecisionView


class TrainedPolicy:
    """Every cell's actor without noise.

    Raises: ValueError where cells' actors differ in shape or a cell has none.
    """

    def __init__(
        self, cells: Sequence[str], weights: Mapping[str, Mapping[str, np.ndarray]]
    ) -> None:
        missing = [cell for cell in cells if cell not in weights]
        if missing:
            raise ValueError(f"policies: expected one for each cell, none for {missing[0]}")
        names = _layer_names(weights[cells[0]])
        shapes = {tuple(weights[cell][name].shape for name in names) for cell in cells}
        if len(shapes) != 1 or not names:
            raise ValueError("policies: expected actors of one shape for all cells")
        stacked = [np.stack([weights[cell][name] for cell in cells]) for name in names]
        self._layers = list(zip(stacked[::2], stacked[1::2], strict=True))

    def prb_ratio(self, view: DecisionView) -> Float[np.ndarray, "cell slice"]:
        return self.actions(view.obs)

    def actions(self, obs: Float32[np.ndarray, "cell obs"]) -> Float32[np.ndarray, "cell action"]:
        """Shares of each cell's carrier."""
        x = obs[:, :, None]
        for number, (weight, bias) in enumerate(self._layers):
            x = weight @ x + bias[:, :, None]
            if number < len(self._layers) - 1:
                x = np.maximum(x, 0)
        logits = x[:, :, 0]
        grown = np.exp(logits - logits.max(axis=1, keepdims=True))
        return grown / grown.sum(axis=1, keepdims=True)


def _layer_names(weights: Mapping[str, np.ndarray]) -> list[str]:
    """Weight and bias of each of the actor's layers in turn, whichever order a file has them in."""
    numbers = sorted({int(name.split(".")[1]) for name in weights if name.startswith("actor.")})
    return [f"actor.{number}.{part}" for number in numbers for part in ("weight", "bias")]
