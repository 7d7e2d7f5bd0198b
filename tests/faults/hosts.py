"""Hosts with addresses of their own on this machine: network namespaces joined by a bridge."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network, ip_address
from typing import NamedTuple

NETWORK = IPv4Network("198.51.100.0/24")
"""Addresses for documentation (RFC 5737), so that no real host has them."""
SUBNET_LENGTH = 28
"""Each user takes a subnet, so that tests beside each other have different addresses."""


class Host(NamedTuple):
    """A network namespace."""

    name: str
    """Of the namespace, and of the end of its cable that is outside of it."""
    address: str
    """Its own."""
    gateway: str
    """Of this machine, as the host reaches it."""

    @property
    def prefix(self) -> list[str]:
        """Command prefix that runs a command on the host."""
        return ["ip", "netns", "exec", self.name]

    def cut_off(self) -> None:
        """Nothing reaches the host or leaves it any more."""
        _run_ip(f"link set {self.name} down")

    def reconnect(self) -> None:
        """Ends `cut_off`."""
        _run_ip(f"link set {self.name} up")


def explain_missing_namespaces() -> str:
    """Why this machine permits no network namespaces, or an empty string."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "network namespaces need root and the command ip"
    name = f"s{secrets.token_hex(3)}"
    added = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    return "" if added.returncode == 0 else f"ip netns: {added.stderr.decode().strip()}"


@contextmanager
def make_hosts(number: int) -> Generator[list[Host]]:
    """Network namespaces that reach each other and this machine over a bridge."""
    tag = f"s{secrets.token_hex(3)}"
    gateway, *addresses = (str(address) for address in find_free_subnet().hosts())
    hosts = [Host(f"{tag}h{host}", addresses[host], gateway) for host in range(number)]
    with ExitStack() as stack:
        _run_ip(f"link add {tag} type bridge")
        stack.callback(_run_ip, f"link delete {tag}")
        _run_ip(f"addr add {gateway}/{SUBNET_LENGTH} dev {tag}")
        _run_ip(f"link set {tag} up")
        for name, address, _ in hosts:
            _run_ip(f"netns add {name}")
            stack.callback(_run_ip, f"netns delete {name}")
            _run_ip(f"link add {name} type veth peer name eth0 netns {name}")
            _run_ip(f"link set {name} master {tag} up")
            _run_ip(f"-n {name} addr add {address}/{SUBNET_LENGTH} dev eth0")
            _run_ip(f"-n {name} link set eth0 up")
            _run_ip(f"-n {name} link set lo up")
            # Ray finds a node's own address by the route to an outside address. Nothing is sent.
            _run_ip(f"-n {name} route add default via {gateway}")
        yield hosts


def find_free_subnet() -> IPv4Network:
    """A subnet of which this machine has no address: another run, or what a killed run left."""
    links = json.loads(_run_ip("-json -4 addr show"))
    used = [ip_address(entry["local"]) for link in links for entry in link["addr_info"]]
    subnets = NETWORK.subnets(new_prefix=SUBNET_LENGTH)
    return next(subnet for subnet in subnets if not any(address in subnet for address in used))


def isolate_folder(folder: str) -> list[str]:
    """Command prefix with which a process sees an empty folder there, as on another host."""
    return ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', folder]


def _run_ip(arguments: str) -> bytes:
    return subprocess.run(["ip", *arguments.split()], check=True, capture_output=True).stdout
