"""The value that TD3's critics regress on.

Source: Fujimoto, van Hoof and Meger, "Addressing Function Approximation Error in Actor-Critic
Methods", 2018, Algorithm 1.
"""

import torch
from torch import Tensor


def smoothing_noise(standard: Tensor, sigma: float, clip: float) -> Tensor:
    """Clipped Gaussian noise for the target policy, here on its logits.

    `standard` is standard normal; `sigma` its standard deviation and `clip` its bound afterwards.
    """
    return (sigma * standard).clamp(-clip, clip)


def td_target(
    reward: Tensor, terminated: Tensor, q1_next: Tensor, q2_next: Tensor, *, gamma: float
) -> Tensor:
    """Clipped double-Q target; truncation bootstraps, termination (1) does not."""
    return reward + gamma * (1.0 - terminated) * torch.minimum(q1_next, q2_next)
