"""Where a cluster keeps the run directories of its jobs."""

import os

DEFAULT_STORAGE = "/tmp/slicing-rllib-run"
"""A folder of one node, which is enough only for a cluster of one node."""
STORAGE_VARIABLE = "SLICING_RLLIB_STORAGE"
"""Environment variable of the cluster's nodes that names the folder."""


def resolve_storage(argument: str | None) -> str:
    """The folder named by the argument, else by this node's environment, else the default."""
    return argument or os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE)
