"""The policies that cells start from, as a reference for what they have learned since.

A cell with a base policy starts from that policy's split, or from a pretrained actor. A step's KPIs
tell what the initial policy would have earned in the same step, so that a cell can be compared with
it at every step without a simulator.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from slicing_rllib.env import ActorForm, CounterfactualReward
from slicing_rllib.learning.parameter_bank import list_layer_shapes
from slicing_rllib.learning.sampled_env import Step
from slicing_rllib.learning.stacked_actor import compute_logits
from slicing_rllib.learning.stacked_mlp import Layers


class InitialPolicies:
    """Rewards that the initial policies of cells would have earned in measured steps."""

    def __init__(
        self, counterfactual: CounterfactualReward, make_weights: Callable[[str], Mapping]
    ) -> None:
        """`make_weights` gives a cell's initial weights by parameter name."""
        self._counterfactual, self._make_weights = counterfactual, make_weights
        self._layers: dict[str, Layers] = {}

    def compute_advantages(
        self, steps: Sequence[Step], cell: str, row: int, form: ActorForm, widths: Sequence[int]
    ) -> list[float]:
        """Per step, the cell's reward − that of its initial policy; NaN where it did not decide.

        `row` is the cell's index in `steps`; `form` and `widths` are those of its actor.
        """
        obs = torch.from_numpy(np.stack([step.transitions.obs[row] for step in steps]))
        feedback = np.stack([step.transitions.feedback[row] for step in steps])
        logits, _ = compute_logits(form, self._find_layers(cell, widths), obs[None])
        split = torch.softmax(logits[0], dim=-1).numpy()
        reference = self._counterfactual.reward(feedback, split)
        rewards = np.array([step.transitions.reward[row] for step in steps])
        decided = np.array([step.decided[row] for step in steps])
        return np.where(decided, rewards - reference, np.nan).tolist()

    def _find_layers(self, cell: str, widths: Sequence[int]) -> Layers:
        if cell not in self._layers:
            weights = self._make_weights(cell)
            names = list(list_layer_shapes(widths))
            arrays = [torch.from_numpy(np.array(weights[f"actor.{name}"])) for name in names]
            pairs = zip(arrays[::2], arrays[1::2], strict=True)
            self._layers[cell] = [(weight[None], bias[None]) for weight, bias in pairs]
        return self._layers[cell]
