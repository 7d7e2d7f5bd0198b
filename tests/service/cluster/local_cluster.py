"""A real Ray cluster of several nodes on this machine, with a token, for tests."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.request import Request, urlopen

import psutil


class LocalCluster:
    """Head with dashboard and agent, and worker nodes; ends what it started by process id."""

    def __init__(self, folder: Path, head_cpus: int, worker_cpus: tuple[int, ...]) -> None:
        self._folder = folder
        self.session = folder / "s"
        self.session.mkdir()
        self.port, self.dashboard_port, self.metrics_port = (_free_port() for _ in range(3))
        self.address = f"http://127.0.0.1:{self.dashboard_port}"
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
        head_cpus, worker_cpus = self._sizes
        self._start(
            "--head", f"--port={self.port}", "--node-ip-address=127.0.0.1",
            "--dashboard-host=127.0.0.1", f"--dashboard-port={self.dashboard_port}",
            f"--num-cpus={head_cpus}", f"--metrics-export-port={self.metrics_port}",
        )  # fmt: skip
        self._wait_for_dashboard()
        for cpus in worker_cpus:
            self.add_worker(cpus)
        return self

    def __exit__(self, *failure: object) -> None:
        for node in reversed(self.nodes):
            kill_family(node)

    @property
    def gcs(self) -> str:
        """Address for drivers of our own: RAY_ADDRESS."""
        return f"127.0.0.1:{self.port}"

    def job_status(self, submission_id: str) -> str:
        """By the dashboard's own API."""
        request = Request(
            f"{self.address}/api/jobs/{submission_id}",
            headers={"Authorization": f"Bearer {self.env['RAY_AUTH_TOKEN']}"},
        )
        with urlopen(request) as answer:
            return json.load(answer)["status"]

    def add_worker(self, cpus: int) -> None:
        self._start(
            f"--address={self.gcs}", "--node-ip-address=127.0.0.1", f"--num-cpus={cpus}",
            prefix=self._own_files(),
        )  # fmt: skip
        self._wait_for_node()

    def lose(self, node: subprocess.Popen) -> None:
        """All of a node's processes at once, as when its power fails."""
        self.nodes.remove(node)
        kill_family(node)

    def _own_files(self) -> list[str]:
        """A worker node sees an empty folder where the head has its session, as other hosts do."""
        script = 'mount -t tmpfs none "$0" && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self.session)]

    def _start(self, *arguments: str, prefix: Sequence[str] = ()) -> None:
        ray = Path(sys.executable).parent / "ray"
        command = [*prefix, ray, "start", *arguments, "--block", "--disable-usage-stats",
                   f"--dashboard-agent-listen-port={_free_port()}",
                   "--object-store-memory=200000000"]  # fmt: skip
        self._logs += 1
        log = (self._folder / f"node{self._logs}.log").open("w")
        with log:
            self.nodes.append(subprocess.Popen(command, env=self.env, stdout=log, stderr=log))

    def _wait_for_node(self) -> None:
        log = self._folder / f"node{self._logs}.log"
        deadline = time.monotonic() + 60
        while "Ray runtime started" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    def _wait_for_dashboard(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.dashboard_port)) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError("the dashboard did not come up within 60 s")


def kill_family(process: subprocess.Popen) -> None:
    """A process and all that it started, at once."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    process.wait()
    for member in family:
        if member.is_running():
            member.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
