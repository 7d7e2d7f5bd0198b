"""`slicing-rllib serve` in a process of its own on a free port, and its replicas."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from slicing_rllib.benchmarks.live_page import find_free_port
from slicing_rllib.storage.errors import RunError

LOOPBACK = "127.0.0.1"
DECISIONS = "/v1/decisions"
REPLICA_TITLE = "ServeReplica:slicing:"
"""Part of the title that Ray Serve gives to replicas, before the name of the deployment."""
POLICIES, REPORTS = "PolicyService", "NeighbourReports"
END_S = 60.0


class Service:
    """A running service.

    Args:
        process: the command `serve`.
        url: its address.
    """

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process, self.url = process, url

    def list_replicas(self, deployment: str = POLICIES) -> set[int]:
        """Process ids of the replicas of a deployment."""
        found: set[int] = set()
        for process in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if REPLICA_TITLE + deployment in process.cmdline()[0]:
                    found.add(process.pid)
            except (IndexError, psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found


@contextmanager
def start_service(source: Path, *, replicas: int = 1, is_direct: bool = False) -> Iterator[Service]:
    """Serves policies for the block, with `serve --direct` if `is_direct`.

    Raises: RunError if the command ends before it serves.
    """
    port = find_free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "slicing_rllib", "serve", str(source), "--port", str(port),
         "--replicas", str(replicas), "--json", *(["--direct"] if is_direct else [])],
        stdout=subprocess.PIPE, text=True,
        env={key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RunError("serve: the command has ended before it served")
        yield Service(process, json.loads(line)["url"].removesuffix("/v1/"))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(END_S)
        process.stdout.close()
