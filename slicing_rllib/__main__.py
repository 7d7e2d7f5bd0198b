"""The command `slicing-rllib`, also callable as `python -m slicing_rllib`."""

import sys

from slicing_rllib.runs.interruption import INTERRUPTED, own_process


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        own_process()
        # Takes a while, in which the command can be interrupted, too.
        from slicing_rllib.cli.main import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        print("slicing-rllib: interrupted", file=sys.stderr)
        code = INTERRUPTED
    sys.exit(code)


if __name__ == "__main__":
    main()
