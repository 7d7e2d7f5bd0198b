"""What an agent may ask for: non-negative weights, scaled onto the shares of eq. (1)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float


def prb_ratio_of(
    weights: Float[np.ndarray, "cell slice"],
    cells: Sequence[str],
    decides: Bool[np.ndarray, " cell"],
) -> Float[np.ndarray, "cell slice"]:
    """Shares a_k >= 0 with sum over slices 1: weights over their sum; equal where none decides.

    Raises: ValueError naming the cell whose weights are not finite, negative, or all zero.
    Source: the paper, eq. (1).
    """
    ratio = np.where(decides[:, None], weights, 1.0).astype(np.float64)
    total = ratio.sum(axis=1, keepdims=True)
    # One test for the usual case: NaN fails both comparisons.
    if not ((ratio >= 0.0).all() and (total > 0.0).all() and np.isfinite(total).all()):
        _reject(ratio, cells)
    return ratio / total


def _reject(weights: Float[np.ndarray, "cell slice"], cells: Sequence[str]) -> None:
    for cell, row in zip(cells, weights, strict=True):
        fit = np.isfinite(row).all() and (row >= 0.0).all() and row.sum() > 0.0
        if not fit:
            raise ValueError(
                f"action of {cell}: expected finite, non-negative weights with a positive sum, "
                f"got {row.tolist()}"
            )
