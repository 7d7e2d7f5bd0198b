"""Trained policies in NumPy: what evaluation and serving need, without PyTorch and Ray.

`TrainedPolicy` runs the actors of all cells, `PretrainedPolicy` the actor that comes with the
package; `list_layers` reads a network from saved weights.
"""

from slicing_rllib.policies.layers import Layer, list_layers
from slicing_rllib.policies.pretrained import (
    PretrainedActor,
    PretrainedPolicy,
    load_pretrained,
    save_pretrained,
)
from slicing_rllib.policies.trained_policy import BasePolicySplit, TrainedPolicy

__all__ = [
    "BasePolicySplit",
    "Layer",
    "PretrainedActor",
    "PretrainedPolicy",
    "TrainedPolicy",
    "list_layers",
    "load_pretrained",
    "save_pretrained",
]
