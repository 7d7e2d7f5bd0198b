"""A Ray cluster whose nodes have their own addresses, each in a network namespace of its own."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import NamedTuple

from local_cluster import LocalCluster

NETWORK = IPv4Network("198.51.100.0/24")
"""Addresses for documentation (RFC 5737), so that no real host has them."""
SUBNET_LENGTH = 28
"""Each run of tests takes a subnet, so that runs beside each other have different addresses."""


class Host(NamedTuple):
    """A network namespace and its address."""

    name: str
    address: str


def explain_missing_namespaces() -> str:
    """Why this machine permits no network namespaces, or an empty string."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and the command ip"
    name = f"s{secrets.token_hex(3)}"
    added = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    return "" if added.returncode == 0 else f"ip netns: {added.stderr.decode().strip()}"


@contextmanager
def make_hosts(number: int) -> Iterator[list[Host]]:
    """Network namespaces that reach each other and this process over a bridge."""
    tag = f"s{secrets.token_hex(3)}"
    bridge_address, *addresses = find_free_subnet().hosts()
    hosts = [Host(f"{tag}h{host}", str(addresses[host])) for host in range(number)]
    with ExitStack() as stack:
        _run_ip(f"link add {tag} type bridge")
        stack.callback(_run_ip, f"link delete {tag}")
        _run_ip(f"addr add {bridge_address}/{SUBNET_LENGTH} dev {tag}")
        _run_ip(f"link set {tag} up")
        for name, address in hosts:
            _run_ip(f"netns add {name}")
            stack.callback(_run_ip, f"netns delete {name}")
            _run_ip(f"link add {name} type veth peer name eth0 netns {name}")
            _run_ip(f"link set {name} master {tag} up")
            _run_ip(f"-n {name} addr add {address}/{SUBNET_LENGTH} dev eth0")
            _run_ip(f"-n {name} link set eth0 up")
            _run_ip(f"-n {name} link set lo up")
            # Ray finds a node's own address by the route to an outside address. Nothing is sent.
            _run_ip(f"-n {name} route add default via {bridge_address}")
        yield hosts


def find_free_subnet() -> IPv4Network:
    """A subnet of which this machine has no address: another run, or what a killed run left."""
    links = json.loads(_run_ip("-json -4 addr show"))
    used = [ip_address(entry["local"]) for link in links for entry in link["addr_info"]]
    subnets = NETWORK.subnets(new_prefix=SUBNET_LENGTH)
    return next(subnet for subnet in subnets if not any(address in subnet for address in used))


class HostCluster(LocalCluster):
    """A cluster of which every node runs on a host of its own.

    Args:
        folder: empty folder with a short path, for logs and sockets.
        hosts: the hosts, the head's first.
        worker_cpus: CPUs of each worker node. The head has none.
        worker_env: environment variables that only the worker nodes have.
    """

    def __init__(
        self,
        folder: Path,
        hosts: list[Host],
        worker_cpus: tuple[int, ...],
        worker_env: Mapping[str, str],
    ) -> None:
        self._hosts = hosts
        super().__init__(folder, 0, worker_cpus, worker_env)

    def get_host(self, node: int) -> str:
        return self._hosts[node].address

    def get_host_prefix(self, node: int) -> list[str]:
        return ["ip", "netns", "exec", self._hosts[node].name]


def _run_ip(arguments: str) -> bytes:
    return subprocess.run(["ip", *arguments.split()], check=True, capture_output=True).stdout
