"""The command `slicing-rllib`, also as `python -m slicing_rllib`: every command, `bench` included.

`bench` stands above the service layer because it runs other commands; it is added here.
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
