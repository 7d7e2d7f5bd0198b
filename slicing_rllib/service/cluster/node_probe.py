"""Run on the cluster: what each node is like, seen from the node itself."""

import logging
import os
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

from slicing_rllib.service.cluster.archive import code_digest

ANSWER_S = 60.0
METRICS_S = 5.0
CLOCK_READINGS = 5


class NodeProbe:
    """Lives on one node."""

    def about(self) -> dict[str, str]:
        """What runs there."""
        import torch

        python = ".".join(map(str, sys.version_info[:3]))
        return {
            "ray": ray.__version__,
            "python": python,
            "torch": str(torch.__version__),
            "code": code_digest(),
        }

    def clock_s(self) -> float:
        return time.time()

    def touch(self, folder: str, node_id: str) -> str:
        """Reads the driver's file and writes one of its own; what is wrong, or nothing."""
        try:
            if not (Path(folder) / "driver").is_file():
                return "is not shared: a file of another node is not there"
            (Path(folder) / node_id).write_text(node_id)
        except OSError as error:
            return f"cannot be written ({error.strerror})"
        return ""


def look(storage: str) -> list[dict[str, Any]]:
    """A row per live node, the driver's first."""
    ray.init(logging_level=logging.ERROR, log_to_driver=False)
    here = ray.get_runtime_context().get_node_id()
    folder = Path(storage) / f".check-{uuid.uuid4().hex[:8]}"
    problem = _begin(folder)
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        nodes.sort(key=lambda node: node["NodeID"] != here)
        probes = [_probe_on(node["NodeID"]) for node in nodes]
        return [_row(*both, folder, problem) for both in zip(nodes, probes, strict=True)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _begin(folder: Path) -> str:
    try:
        folder.mkdir(parents=True)
        (folder / "driver").write_text("")
    except OSError as error:
        return f"cannot be written by the driver ({error.strerror})"
    return ""


def _probe_on(node_id: str) -> Any:
    there = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    return ray.remote(NodeProbe).options(num_cpus=0, scheduling_strategy=there).remote()


def _row(node: dict[str, Any], probe: Any, folder: Path, problem: str) -> dict[str, Any]:
    node_id = node["NodeID"]
    row: dict[str, Any] = {
        "node": node_id,
        "address": node["NodeManagerAddress"],
        "resources": node["Resources"],
        "metrics": _metrics_problem(node),
    }
    try:
        row |= ray.get(probe.about.remote(), timeout=ANSWER_S)
        problem = problem or ray.get(probe.touch.remote(str(folder), node_id), timeout=ANSWER_S)
        row["clock_skew_s"] = _skew_s(probe)
    except RayError as error:
        return row | {"problem": " ".join(str(error).split())[:200]}
    if not problem and not (folder / node_id).is_file():
        problem = "is not shared: the driver does not see this node's file"
    return row | {"storage": problem}


def _skew_s(probe: Any) -> float:
    """How far a node's clock is ahead, from the reading that took least time."""
    readings = []
    for _ in range(CLOCK_READINGS):
        before = time.time()
        there: Any = ray.get(probe.clock_s.remote(), timeout=ANSWER_S)
        after = time.time()
        readings.append((after - before, there - (before + after) / 2))
    return min(readings)[1]


def _metrics_problem(node: dict[str, Any]) -> str:
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    try:
        with urlopen(address, timeout=METRICS_S) as answer:
            return "" if answer.status == 200 else f"{address} answers {answer.status}"
    except (URLError, OSError) as error:
        return f"{address} does not answer ({getattr(error, 'reason', error)})"


def storage_of(argument: str | None) -> str:
    """Where this cluster keeps runs."""
    from slicing_rllib.service.cluster.client import DEFAULT_STORAGE, STORAGE_VARIABLE

    return argument or os.environ.get(STORAGE_VARIABLE, DEFAULT_STORAGE)
