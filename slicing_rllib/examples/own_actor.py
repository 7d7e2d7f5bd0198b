"""An own actor and a message that is learned: torch modules, one of each per cell.

    python -m slicing_rllib.examples.own_actor

From the command line, with a copy of this file beside the config:

    slicing-rllib train quick --set learning.actor=own_actor:NormalisedActor \
        --set env.message=own_actor:attention --set env.observation=widened
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from slicing_rllib.env.observation import LearnedMessage
from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.progress import ProgressListener
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.training import train


class NormalisedActor(nn.Sequential):
    """From (batch, obs) to (batch, action) logits; the softmax is the package's."""

    def __init__(self, obs_size: int, n_actions: int) -> None:
        layers = nn.Linear(obs_size, 32), nn.LayerNorm(32), nn.Tanh(), nn.Linear(32, n_actions)
        super().__init__(*layers)


class Attention(nn.Module):
    """Weighs each neighbour's load, (batch, neighbour, slice), by what that neighbour reports."""

    def __init__(self, n_neighbours: int, n_slices: int) -> None:
        super().__init__()
        self.score = nn.Linear(n_slices, 1)

    def forward(self, reports: Tensor) -> Tensor:
        weight = torch.softmax(self.score(reports), dim=-2)
        return (weight * reports).sum(dim=-2)


attention = LearnedMessage(Attention)


def main(folder: str = "runs/own-actor", *settings: str) -> None:
    """Trains `quick` with both, with `key.path=value` settings on top."""
    parts = {"learning.actor": "NormalisedActor", "env.message": "attention"}
    own = [f"{key}=slicing_rllib.examples.own_actor:{name}" for key, name in parts.items()]
    config = load_config("quick", ["env.observation=widened", *own, *settings])
    summary = train(config, RunDirectory.create(Path(folder), config), ProgressListener())
    for name, of_policy in summary["policies"].items():
        print(f"{name}: reward {of_policy['reward_mean']:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
