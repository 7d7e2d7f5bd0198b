"""What TD3's critics regress on.

Source: Fujimoto, van Hoof, Meger: Addressing Function Approximation Error in Actor-Critic Methods,
2018, Algorithm 1.
"""

import torch
from torch import Tensor


def smoothing_noise(standard: Tensor, sigma: float, clip: float) -> Tensor:
    """Clipped noise for the target policy, here on its logits."""
    return (sigma * standard).clamp(-clip, clip)


def td_target(
    reward: Tensor, terminated: Tensor, q1_next: Tensor, q2_next: Tensor, *, gamma: float
) -> Tensor:
    """Clipped double-Q target; truncation bootstraps, termination (1) doesn't."""
    return reward + gamma * (1.0 - terminated) * torch.minimum(q1_next, q2_next)
