"""A Ray cluster whose nodes have their own addresses, each in a network namespace of its own."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from local_cluster import LocalCluster

NETWORK = "198.51.100"
"""Addresses for documentation (RFC 5737), so that no real host has them."""


def explain_missing_namespaces() -> str:
    """Why this machine permits no network namespaces, or an empty string."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and the command ip"
    name = f"s{secrets.token_hex(3)}"
    added = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    return "" if added.returncode == 0 else f"ip netns: {added.stderr.decode().strip()}"


@contextmanager
def make_hosts(number: int) -> Iterator[list[str]]:
    """Names of network namespaces that reach each other and this process over a bridge.

    Host 0 has the address 198.51.100.10, host 1 the next one.
    """
    tag = f"s{secrets.token_hex(3)}"
    names = [f"{tag}h{host}" for host in range(number)]
    with ExitStack() as stack:
        _run_ip(f"link add {tag} type bridge")
        stack.callback(_run_ip, f"link delete {tag}")
        _run_ip(f"addr add {NETWORK}.1/24 dev {tag}")
        _run_ip(f"link set {tag} up")
        for host, name in enumerate(names):
            _run_ip(f"netns add {name}")
            stack.callback(_run_ip, f"netns delete {name}")
            _run_ip(f"link add {name} type veth peer name eth0 netns {name}")
            _run_ip(f"link set {name} master {tag} up")
            _run_ip(f"-n {name} addr add {NETWORK}.{10 + host}/24 dev eth0")
            _run_ip(f"-n {name} link set eth0 up")
            _run_ip(f"-n {name} link set lo up")
        yield names


class HostCluster(LocalCluster):
    """A cluster of which every node runs on a host of its own.

    Args:
        folder: empty folder with a short path, for logs and sockets.
        hosts: names of the hosts, the head's first.
        worker_cpus: CPUs of each worker node. The head has none.
    """

    def __init__(self, folder: Path, hosts: list[str], worker_cpus: tuple[int, ...]) -> None:
        self._hosts = hosts
        super().__init__(folder, 0, worker_cpus)

    def get_host(self, node: int) -> str:
        return f"{NETWORK}.{10 + node}"

    def get_host_prefix(self, node: int) -> list[str]:
        return ["ip", "netns", "exec", self._hosts[node]]


def _run_ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True, capture_output=True)
