"""A Ray cluster of several nodes on this machine, whose nodes and workers can be killed."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from slicing_rllib.drill.errors import DrillError
from slicing_rllib.drill.hosts import Host, isolate_folder

N_NODES = 2
NODE_CPUS = 4
LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 90.0
ATTEMPTS = 4
"""Ray gives up on a node that has not started within 30 s, which happens on a busy machine."""
STARTED = b"Ray runtime started"
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "token",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # A node that does not answer is given up after about 20 s.
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass(frozen=True, eq=False)
class Node:
    """A node of the cluster."""

    process: subprocess.Popen[bytes]
    """Ray's command that waits for all processes of the node."""
    host: Host | None
    """Where it runs; None for this machine itself."""


class DrillCluster:
    """A head and worker nodes for the duration of a block.

    Args:
        folder: empty folder with a short path, for Ray's logs and sockets.
        hosts: a host per worker node; without hosts, all run on this machine itself.

    `environment` is that of a process that is to use the cluster.
    """

    def __init__(self, folder: Path, hosts: Sequence[Host] = ()) -> None:
        self._folder = folder
        self._hosts = hosts or [None] * N_NODES
        self._port = _find_free_port()
        self._logs = 0
        self._head: Node | None = None
        self.nodes: list[Node] = []
        """Worker nodes."""
        self._settings = SETTINGS | {
            "RAY_TMPDIR": str(folder),
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a process finds the cluster and is admitted to it."""
        return os.environ | self._settings | {"RAY_ADDRESS": f"{LOOPBACK}:{self._port}"}

    def __enter__(self) -> "DrillCluster":
        # A node that does not start must not leave the others behind.
        try:
            self._head = self._start(
                None, "--head", f"--port={self._port}", "--num-cpus=1", "--include-dashboard=false",
                f"--node-ip-address={LOOPBACK}",
            )  # fmt: skip
            self.add_nodes()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        for node in [*self.nodes, *([self._head] if self._head else [])]:
            self.kill_node(node)

    def add_nodes(self) -> None:
        """Starts worker nodes until all are there. Raises: DrillError."""
        for node in [node for node in self.nodes if node.process.poll() is not None]:
            self.kill_node(node)
        missing = list(self._hosts)
        for node in self.nodes:
            missing.remove(node.host)
        for host in missing:
            head = host.gateway if host else LOOPBACK
            own = host.address if host else LOOPBACK
            arguments = (f"--address={head}:{self._port}", f"--node-ip-address={own}")
            self.nodes.append(self._start(host, *arguments, f"--num-cpus={NODE_CPUS}"))

    def kill_node(self, node: Node) -> None:
        """Ends all processes of a node at once, like a power failure."""
        if node in self.nodes:
            self.nodes.remove(node)
        processes = self.list_processes(node)
        node.process.kill()
        _signal(processes, signal.SIGKILL)
        node.process.wait()

    def list_processes(self, node: Node) -> list[psutil.Process]:
        """All processes of a node, except for Ray's command that waits for them."""
        try:
            return psutil.Process(node.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def find_workers(self, name: str) -> list[tuple[Node, psutil.Process]]:
        """Ray's processes whose title contains a name, with the nodes that they run on."""
        found = []
        for node in self.nodes:
            for process in self.list_processes(node):
                try:
                    title = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                if title.startswith("ray::") and name in title:
                    found.append((node, process))
        return found

    def pause(self, processes: Iterable[psutil.Process]) -> None:
        """Stops processes without ending them."""
        _signal(processes, signal.SIGSTOP)

    def resume(self, processes: Iterable[psutil.Process]) -> None:
        """Lets paused processes go on."""
        _signal(processes, signal.SIGCONT)

    def _start(self, host: Host | None, *arguments: str) -> Node:
        for _ in range(ATTEMPTS):
            process, log = self._launch(host, arguments)
            node = Node(process, host)
            deadline = time.monotonic() + START_TIMEOUT_S
            while process.poll() is None and time.monotonic() < deadline:
                if STARTED in log.read_bytes():
                    return node
                time.sleep(0.2)
            self.kill_node(node)
        raise DrillError(f"Ray does not start a node in {ATTEMPTS} attempts; is the machine busy?")

    def _launch(
        self, host: Host | None, arguments: Sequence[str]
    ) -> tuple[subprocess.Popen[bytes], Path]:
        command = [
            *([*host.prefix, *isolate_folder(str(self._folder))] if host else []),
            str(Path(sys.executable).parent / "ray"), "start", *arguments, "--block",
            "--disable-usage-stats",
            f"--dashboard-agent-listen-port={_find_free_port()}",
            "--object-store-memory=100000000",
        ]  # fmt: skip
        self._logs += 1
        log = self._folder / f"node{self._logs}.log"
        environment = os.environ | self._settings
        environment.pop("RAY_ADDRESS", None)
        with log.open("wb") as file:
            return subprocess.Popen(command, env=environment, stdout=file, stderr=file), log


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _find_free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        return server.getsockname()[1]
