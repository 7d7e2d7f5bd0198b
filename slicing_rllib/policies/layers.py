"""The layers of a fully connected network from saved weights.

Weights are named "NETWORK.INDEX.weight" and "NETWORK.INDEX.bias", as PyTorch's `nn.Sequential` in
an attribute `NETWORK` names them. Indices of activations are missing.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Layer(NamedTuple):
    """A fully connected layer: its outputs are weight @ inputs + bias."""

    weight: Float[np.ndarray, "output input"]
    bias: Float[np.ndarray, " output"]


def list_layers(weights: Mapping[str, np.ndarray], network: str = "actor") -> list[Layer]:
    """The layers of a network from input to output, in whichever order `weights` has them.

    `weights` may contain other networks, too.
    Raises: ValueError if it has no layer of this network, KeyError if a layer is incomplete.
    """
    indices = sorted(
        {int(name.split(".")[1]) for name in weights if name.startswith(f"{network}.")}
    )
    if not indices:
        raise ValueError(f"weights: expected a network {network!r}, got none")
    return [
        Layer(weights[f"{network}.{index}.weight"], weights[f"{network}.{index}.bias"])
        for index in indices
    ]
