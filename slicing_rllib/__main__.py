"""The command `slicing-rllib`, also callable as `python -m slicing_rllib`, with all its commands.

`bench` is added here and not in `service.cli`: it runs other commands, so its package stands above
the service layer.
"""

import sys

from slicing_rllib.benchmarks import command as bench
from slicing_rllib.service import cli

cli.app.add_typer(bench.app, name="bench")

run = cli.run


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
