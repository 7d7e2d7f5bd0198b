"""An own similarity measure decides from which cell a new cell learns.

    python -m slicing_rllib.examples.own_measure

From the command line, with a copy of this file beside the config:

    slicing-rllib train quick --set transfer.measure=own_measure:reward_distance
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import wasserstein_distance

from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.progress import ProgressListener
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.training import train
from slicing_rllib.transfer import Population, without_vae


@without_vae
def reward_distance(cells: Sequence[Population]) -> np.ndarray:
    """(source, target): Wasserstein distance of the rewards under the default action.

    The reward is the last feature of `raw`. The mark says that no VAE needs to be trained.
    """
    rewards = [cell.raw[:, -1] for cell in cells]
    return np.array([[wasserstein_distance(a, b) for b in rewards] for a in rewards])


def main(folder: str = "runs/own-measure", *settings: str) -> None:
    """Trains `quick`, in which the last cell joins, with `key.path=value` settings on top."""
    measure = "transfer.measure=slicing_rllib.examples.own_measure:reward_distance"
    config = load_config("quick", [measure, *settings])
    run = RunDirectory.create(Path(folder), config)
    train(config, run, ProgressListener())
    for event in run.events():
        if event["kind"] in ("source_chosen", "warm_started", "guard_passed"):
            print(f"{event['cell']}: {event['kind']}: {event['message']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
