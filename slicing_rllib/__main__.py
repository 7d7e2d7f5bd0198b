"""The command `slicing-rllib`, also callable as `python -m slicing_rllib`."""

import sys

from slicing_rllib.cli.main import run


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
