"""Run on the cluster: prints a run directory, packed, for `submit` to fetch."""

import sys
from pathlib import Path

from slicing_rllib.service.jobs import FETCH_MARK, pack

if __name__ == "__main__":
    sys.stdout.write(f"{FETCH_MARK}{pack(Path(sys.argv[1]))}\n")
