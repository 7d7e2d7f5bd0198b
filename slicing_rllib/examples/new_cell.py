"""A cell joins a network that is running, and learns from the most similar one.

    python -m slicing_rllib.examples.new_cell

Its default action divides the carrier until step 150; by what it sees meanwhile its source is
chosen.
"""

import sys
from pathlib import Path

import slicing_rllib
from slicing_rllib.runs.config_loading import load_config
from slicing_rllib.runs.progress import ProgressListener
from slicing_rllib.runs.run_directory import RunDirectory
from slicing_rllib.runs.training import train

JOINS = "env.deployments=[{cell: cell_12, off_until: 100, default_action_until: 150}]"


def main(out: str = "run", *settings: str) -> None:
    """`settings` are KEY=VALUE, as those of `--set`."""
    config = load_config("quick", [JOINS, *settings])
    train(config, RunDirectory.create(Path(out), config), ProgressListener())
    events = slicing_rllib.load_run(out).events
    print(events.loc[events["cell"] == "cell_12", ["env_step", "kind", "message"]].to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
