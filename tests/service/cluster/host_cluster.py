"""A Ray cluster whose nodes have their own addresses, each in a network namespace of its own."""

from pathlib import Path

from local_cluster import LocalCluster

from slicing_rllib.service.drill.hosts import Host


class HostCluster(LocalCluster):
    """A cluster of which every node runs on a host of its own.

    Args:
        folder: empty folder with a short path, for logs and sockets.
        hosts: the hosts, the head's first.
        worker_cpus: CPUs of each worker node. The head has none.
    """

    def __init__(self, folder: Path, hosts: list[Host], worker_cpus: tuple[int, ...]) -> None:
        self._hosts = hosts
        super().__init__(folder, 0, worker_cpus)

    def get_host(self, node: int) -> str:
        return self._hosts[node].address

    def get_host_prefix(self, node: int) -> list[str]:
        return self._hosts[node].prefix
