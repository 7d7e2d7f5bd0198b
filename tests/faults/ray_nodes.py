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
from hosts import Host, isolate_folder

N_NODES = 2
NODE_CPUS = 4
LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 90.0
ATTEMPTS = 4
"""Ray gives up on a node that has not started within 30 s, which happens on a busy machine."""
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

    def list_processes(self) -> list[psutil.Process]:
        """All processes of the node, except for Ray's command that waits for them."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """Ends all processes of the node at once, like a power failure."""
        processes = self.list_processes()
        self.process.kill()
        send_signal(processes, signal.SIGKILL)
        self.process.wait()


class RayNodes:
    """A head and worker nodes for the duration of a block.

    Args:
        folder: empty folder with a short path, for Ray's logs and sockets.
        hosts: a host per worker node; without hosts, all run on this machine itself.
    """

    def __init__(self, folder: Path, hosts: Sequence[Host] = ()) -> None:
        self._folder = folder
        self._hosts = hosts or [None] * N_NODES
        self._port = _find_free_port()
        self._head: Node | None = None
        self._logs = 0
        self.workers: list[Node] = []
        self._settings = SETTINGS | {
            "RAY_TMPDIR": str(folder),
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        self.environment = os.environ | self._settings
        """Of a process that is to use the cluster."""
        self.environment["RAY_ADDRESS"] = f"{LOOPBACK}:{self._port}"

    def __enter__(self) -> "RayNodes":
        # A node that does not start must not leave the others behind.
        try:
            self._head = self._start(
                None, "--head", f"--port={self._port}", "--num-cpus=1", "--include-dashboard=false",
                f"--node-ip-address={LOOPBACK}",
            )  # fmt: skip
            self.add_missing()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        for node in [*self.workers, *([self._head] if self._head else [])]:
            node.kill()

    def add_missing(self) -> None:
        """Starts worker nodes until every host has one that runs."""
        for node in [node for node in self.workers if node.process.poll() is not None]:
            self.remove(node)
        missing = list(self._hosts)
        for node in self.workers:
            missing.remove(node.host)
        for host in missing:
            head, own = (host.gateway, host.address) if host else (LOOPBACK, LOOPBACK)
            arguments = (f"--address={head}:{self._port}", f"--node-ip-address={own}")
            self.workers.append(self._start(host, *arguments, f"--num-cpus={NODE_CPUS}"))

    def remove(self, node: Node) -> None:
        """Ends all processes of a worker node at once."""
        self.workers.remove(node)
        node.kill()

    def find_processes(self, name: str) -> list[tuple[Node, psutil.Process]]:
        """Ray's processes whose title contains a name, with the nodes that they run on."""
        found = []
        for node in self.workers:
            for process in node.list_processes():
                try:
                    title = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                if title.startswith("ray::") and name in title:
                    found.append((node, process))
        return found

    def _start(self, host: Host | None, *arguments: str) -> Node:
        for _ in range(ATTEMPTS):
            self._logs += 1
            log = self._folder / f"node{self._logs}.log"
            node = Node(self._launch(host, arguments, log), host)
            deadline = time.monotonic() + START_TIMEOUT_S
            while node.process.poll() is None and time.monotonic() < deadline:
                if b"Ray runtime started" in log.read_bytes():
                    return node
                time.sleep(0.2)
            node.kill()
        raise AssertionError(f"Ray starts no node in {ATTEMPTS} attempts; is the machine busy?")

    def _launch(
        self, host: Host | None, arguments: Sequence[str], log: Path
    ) -> subprocess.Popen[bytes]:
        command = [
            *([*host.prefix, *isolate_folder(str(self._folder))] if host else []),
            str(Path(sys.executable).parent / "ray"), "start", *arguments, "--block",
            "--disable-usage-stats",
            f"--dashboard-agent-listen-port={_find_free_port()}",
            "--object-store-memory=100000000",
        ]  # fmt: skip
        environment = os.environ | self._settings
        environment.pop("RAY_ADDRESS", None)
        with log.open("wb") as file:
            return subprocess.Popen(command, env=environment, stdout=file, stderr=file)


def send_signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Sends a signal to each of these processes that still exists."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _find_free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        return server.getsockname()[1]
