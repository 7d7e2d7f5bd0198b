"""Facts about each node of a cluster, measured on the node itself by a helper job."""

import logging
import shutil
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from slicing_rllib.service.cluster.archive import compute_code_digest
from slicing_rllib.service.cluster.installed_code import describe_installed_code
from slicing_rllib.service.cluster.redis_probe import describe_redis

PROBE_TIMEOUT_S = 60.0
METRICS_TIMEOUT_S = 5.0
CLOCK_READINGS = 5
HEAD_RESOURCE = "node:__internal_head__"
"""Resource that only the head has."""


class NodeProbe:
    """An actor that runs on the node that it measures."""

    def read_versions(self) -> dict[str, str]:
        """Versions of Ray, Python and PyTorch, the digest of our code, and the image's code."""
        import torch

        return {
            "ray": ray.__version__,
            "python": ".".join(map(str, sys.version_info[:3])),
            "torch": str(torch.__version__),
            "code": compute_code_digest(),
            "image": describe_installed_code(),
        }

    def describe_redis(self) -> dict[str, str]:
        """What this node, if it is the head, keeps its state in, and what is wrong with it."""
        return describe_redis()

    def read_clock_s(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def check_storage(self, folder: str, node_id: str) -> str:
        """What is wrong with the storage, or an empty string.

        The folder must hold the driver's file and let this node write one.
        """
        try:
            if not (Path(folder) / "driver").is_file():
                return "is not shared: the file that the driver wrote is missing here"
            (Path(folder) / node_id).write_text(node_id)
        except OSError as error:
            return f"cannot be written ({error.strerror})"
        return ""


def probe_nodes(storage: str) -> list[dict[str, Any]]:
    """One row of facts per live node, the driver's node first. Starts Ray in this process.

    A row has the keys `node address resources metrics` and, if the node answers, `ray python torch
    code image clock_skew_s storage`, else `problem`. The head's row also has `redis redis_problem`.
    In `metrics`, `storage` and the problems, an empty string means that nothing is wrong.
    """
    ray.init(logging_level=logging.ERROR, log_to_driver=False)
    driver_node = ray.get_runtime_context().get_node_id()
    folder = Path(storage) / f".check-{uuid.uuid4().hex[:8]}"
    problem = _write_driver_file(folder)
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        nodes.sort(key=lambda node: node["NodeID"] != driver_node)
        # All probes start before the first answer is awaited, so that they import in parallel.
        probes = [_start_probe(node["NodeID"]) for node in nodes]
        return [
            _probe_node(node, probe, folder, problem)
            for node, probe in zip(nodes, probes, strict=True)
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_driver_file(folder: Path) -> str:
    """What is wrong with the storage on the driver's node, or an empty string."""
    try:
        folder.mkdir(parents=True)
        (folder / "driver").write_text("")
    except OSError as error:
        return f"cannot be written by the driver ({error.strerror})"
    return ""


def _start_probe(node_id: str) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    return ray.remote(NodeProbe).options(num_cpus=0, scheduling_strategy=strategy).remote()


def _probe_node(node: dict[str, Any], probe: Any, folder: Path, problem: str) -> dict[str, Any]:
    node_id = node["NodeID"]
    row: dict[str, Any] = {
        "node": node_id,
        "address": node["NodeManagerAddress"],
        "resources": node["Resources"],
        "metrics": _check_metrics(node),
    }
    try:
        row |= ray.get(probe.read_versions.remote(), timeout=PROBE_TIMEOUT_S)
        storage = probe.check_storage.remote(str(folder), node_id)
        problem = problem or ray.get(storage, timeout=PROBE_TIMEOUT_S)
        row["clock_skew_s"] = _measure_clock_skew_s(probe)
        if HEAD_RESOURCE in node["Resources"]:
            row |= ray.get(probe.describe_redis.remote(), timeout=PROBE_TIMEOUT_S)
    except RayError as error:
        return row | {"problem": " ".join(str(error).split())[:200]}
    if not problem and not (folder / node_id).is_file():
        problem = "is not shared: the driver does not see the file that this node wrote"
    return row | {"storage": problem}


def _measure_clock_skew_s(probe: Any) -> float:
    """How far the node's clock is ahead of ours, in seconds.

    The reading with the shortest round trip is used, because its uncertainty is the smallest.
    """
    readings = []
    for _ in range(CLOCK_READINGS):
        before = time.time()
        node_time: Any = ray.get(probe.read_clock_s.remote(), timeout=PROBE_TIMEOUT_S)
        after = time.time()
        readings.append((after - before, node_time - (before + after) / 2))
    return min(readings)[1]


def _check_metrics(node: dict[str, Any]) -> str:
    """What is wrong with the node's metrics port, or an empty string."""
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    try:
        with urlopen(address, timeout=METRICS_TIMEOUT_S) as answer:
            return "" if answer.status == 200 else f"{address} answers {answer.status}"
    except (URLError, OSError) as error:
        return f"{address} does not answer ({getattr(error, 'reason', error)})"
