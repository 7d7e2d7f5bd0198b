"""A Ray cluster of several nodes on this machine, protected by a token, for tests."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Self
from urllib.request import Request, urlopen

import psutil

START_TIMEOUT_S = 180
"""How long a node may take to start: about 8 s alone, over 60 s beside other test runs."""


class LocalCluster:
    """A head with dashboard and agent, and worker nodes. All their processes end with the block.

    Args:
        folder: empty folder with a short path, for logs and sockets.
        head_cpus: CPUs of the head.
        worker_cpus: CPUs of each worker node.
        worker_env: environment variables that only the worker nodes have.
    """

    def __init__(
        self,
        folder: Path,
        head_cpus: int,
        worker_cpus: tuple[int, ...],
        worker_env: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._folder, self._worker_env = folder, worker_env
        self.session = folder / "s"
        self.session.mkdir()
        self.port, self.dashboard_port, self.metrics_port = (_find_free_port() for _ in range(3))
        self.address = f"http://{self.get_host(0)}:{self.dashboard_port}"
        self.env = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_TMPDIR": str(self.session),
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        }
        self.env.pop("RAY_ADDRESS", None)
        self._sizes = head_cpus, worker_cpus
        self.nodes: list[subprocess.Popen] = []
        self._logs = 0

    def __enter__(self) -> Self:
        # A node that does not start must not leave the others behind.
        try:
            self._start_nodes()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start_nodes(self) -> None:
        head_cpus, worker_cpus = self._sizes
        self._start(
            "--head", f"--port={self.port}", f"--node-ip-address={self.get_host(0)}",
            f"--dashboard-host={self.get_host(0)}", f"--dashboard-port={self.dashboard_port}",
            f"--num-cpus={head_cpus}", f"--metrics-export-port={self.metrics_port}",
            prefix=self.get_host_prefix(0),
        )  # fmt: skip
        self._wait_for_dashboard()
        for cpus in worker_cpus:
            self.add_worker(cpus)

    def __exit__(self, *failure: object) -> None:
        for node in reversed(self.nodes):
            kill_process_tree(node)

    @property
    def gcs(self) -> str:
        """Address of the head for RAY_ADDRESS."""
        return f"{self.get_host(0)}:{self.port}"

    def get_host(self, node: int) -> str:
        """Address of a node's host. The head is node 0."""
        return "127.0.0.1"

    def get_host_prefix(self, node: int) -> list[str]:
        """Command prefix that runs a command on a node's host."""
        return []

    def read_job_status(self, submission_id: str) -> str:
        """The status of a job, from the dashboard's HTTP API."""
        request = Request(
            f"{self.address}/api/jobs/{submission_id}",
            headers={"Authorization": f"Bearer {self.env['RAY_AUTH_TOKEN']}"},
        )
        with urlopen(request) as answer:
            return json.load(answer)["status"]

    def add_worker(self, cpus: int) -> None:
        node = self._logs
        self._start(
            f"--address={self.gcs}", f"--node-ip-address={self.get_host(node)}",
            f"--num-cpus={cpus}",
            prefix=[*self.get_host_prefix(node), *self._isolate()],
            env=self._worker_env,
        )  # fmt: skip
        self._wait_for_node()

    def kill_node(self, node: subprocess.Popen) -> None:
        """Kills all processes of a node at once, like a power failure."""
        self.nodes.remove(node)
        kill_process_tree(node)

    def _isolate(self) -> list[str]:
        """Command prefix with which a node sees, as on another host, an empty session folder and
        no processes but its own. A driver of Ray looks for its node in the list of processes, and
        takes the head's if it sees it: `find_node_ids`, ray/_private/services.py, Ray 2.60.
        """
        script = 'mount -t tmpfs none "$0" && exec "$@"'
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        return [*unshare, "sh", "-c", script, str(self.session)]

    def _start(
        self,
        *arguments: str,
        prefix: Sequence[str] = (),
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        ray = Path(sys.executable).parent / "ray"
        command = [*prefix, ray, "start", *arguments, "--block", "--disable-usage-stats",
                   f"--dashboard-agent-listen-port={_find_free_port()}",
                   "--object-store-memory=200000000"]  # fmt: skip
        self._logs += 1
        log = (self._folder / f"node{self._logs}.log").open("w")
        with log:
            self.nodes.append(subprocess.Popen(command, env=self.env | env, stdout=log, stderr=log))

    def _wait_for_node(self) -> None:
        log = self._folder / f"node{self._logs}.log"
        deadline = time.monotonic() + START_TIMEOUT_S
        while "Ray runtime started" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    def _wait_for_dashboard(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex((self.get_host(0), self.dashboard_port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError(f"the dashboard did not start within {START_TIMEOUT_S} s")


def kill_process_tree(process: subprocess.Popen) -> None:
    """Kills a process and all its descendants."""
    try:
        descendants = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        descendants = []
    process.kill()
    process.wait()
    for descendant in descendants:
        if descendant.is_running():
            descendant.kill()


def _find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
