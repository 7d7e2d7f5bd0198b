"""TD3's target, with numbers to redo in the head."""

import pytest
import torch

from slicing_rllib.learning.stacked_td3 import smoothing_noise, td_target


def test_the_target_is_the_smaller_critic_discounted():
    """.5 + .1 x min(2, 3) = .7; terminated: .5."""
    reward, q1, q2 = torch.tensor([0.5, 0.5]), torch.tensor([2.0, 2.0]), torch.tensor([3.0, 3.0])

    target = td_target(reward, torch.tensor([0.0, 1.0]), q1, q2, gamma=0.1)

    assert target.tolist() == pytest.approx([0.7, 0.5])


def test_smoothing_noise_is_clipped():
    noise = smoothing_noise(torch.tensor([1.0, -10.0, 10.0]), 0.2, 0.5)

    assert noise.tolist() == pytest.approx([0.2, -0.5, 0.5])
