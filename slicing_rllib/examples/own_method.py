"""An own transfer method: a new cell starts from the mean of the two nearest cells' weights.

    python -m slicing_rllib.examples.own_method

From the command line, with a copy of this file beside the config:

    slicing-rllib train quick --set transfer.method=own_method:average_two
"""

import sys
from pathlib import Path

import numpy as np

from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.progress import ProgressListener
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.training import train
from slicing_rllib.transfer.methods import Transfer, WarmStart


def average_two(transfer: Transfer) -> WarmStart:
    """The mean of the weights of the two nearest sources, and the nearest one's experience.

    A mean of networks is a bad idea where they were initialised differently; the guard compares
    the cell with its initial policy and takes the transfer back if it does harm.
    """
    nearest = transfer.sources[:2]
    weights = {
        name: np.mean([source.weights[name] for source in nearest], axis=0)
        for name in nearest[0].weights
    }
    return WarmStart(weights, transfer.take_experience(nearest[0]))


def main(folder: str = "runs/own-method", *settings: str) -> None:
    """Trains `quick`, in which the last cell joins, with `key.path=value` settings on top."""
    method = "transfer.method=slicing_rllib.examples.own_method:average_two"
    config = load_config("quick", [method, *settings])
    run = RunDirectory.create(Path(folder), config)
    summary = train(config, run, ProgressListener())
    for name in (config.learning.learner, config.own_policy):
        if name in summary["policies"]:
            print(f"{name}: reward {summary['policies'][name]['reward_mean']:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
