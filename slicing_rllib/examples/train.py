"""Trains one policy per cell from Python, and prints the table of the evaluation.

    python -m slicing_rllib.examples.train

On the command line: `slicing-rllib train quick --set seed=7 --out run`.
"""

import sys
from pathlib import Path

import slicing_rllib
from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.progress import ProgressListener
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.training import train


def main(out: str = "run", *settings: str) -> None:
    """`settings` are KEY=VALUE, as those of `--set`."""
    config = load_config("quick", ["seed=7", *settings])
    train(config, RunDirectory.create(Path(out), config), ProgressListener())
    policies = slicing_rllib.load_run(out).policies
    print(policies.pivot(index="policy", columns="metric", values="mean").round(3))


if __name__ == "__main__":
    main(*sys.argv[1:])
