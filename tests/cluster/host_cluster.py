"""A Ray cluster whose nodes have their own addresses, each in a network namespace of its own."""

from collections.abc import Mapping
from pathlib import Path

from hosts import Host
from local_cluster import LocalCluster


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
        return self._hosts[node].prefix
