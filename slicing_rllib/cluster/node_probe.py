"""Facts about each node of a cluster, measured on the node itself by a helper job.

Versions and code, the shared storage, the clock, the metrics port, and on the head's node the Redis
in which the head keeps its state. `preflight.py` judges them.
"""

import hashlib
import json
import logging
import os
import shutil
import socket
import ssl
import sys
import time
import uuid
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import slicing_rllib

PROBE_TIMEOUT_S = 60.0
METRICS_TIMEOUT_S = 5.0
CLOCK_READINGS = 5
HEAD_RESOURCE = "node:__internal_head__"
"""Resource that only the head has."""
PACKAGE, DISTRIBUTION = "slicing_rllib", "slicing-rllib"
JOB_CODE = "runtime_resources"
"""Part of the path under which Ray unpacks the code of a job."""
NONE = "no slicing-rllib"
ADDRESS_VARIABLE = "RAY_REDIS_ADDRESS"
USER_VARIABLE, PASSWORD_VARIABLE = "REDIS_USERNAME", "REDIS_PASSWORD"
TAGS_VARIABLE = "RAY_USAGE_STATS_EXTRA_TAGS"
"""KubeRay names here the kind of object that has started a node, such as `kuberay_crd=RayJob`."""
STANDING_KINDS = ("RayCluster", "RayService")
"""Kinds of KubeRay whose cluster outlives its jobs."""
REDIS_PORT = 6379
REDIS_TIMEOUT_S = 5.0


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


def compute_code_digest(root: Path | None = None) -> str:
    """Hash of the package's source: two machines with equal digests run equal code.

    Args:
        root: folder of the package; None means the one that this process has imported.
    """
    root = root or Path(slicing_rllib.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def describe_installed_code() -> str:
    """Version and digest of the installed package, or `NONE`."""
    folder = find_installed_code()
    if folder is None:
        return NONE
    try:
        version = distribution(DISTRIBUTION).version
    except PackageNotFoundError:
        version = "unknown"
    return f"{version} ({compute_code_digest(folder)})"


def find_installed_code() -> Path | None:
    """Folder of the installed package, or None."""
    for entry in sys.path:
        folder = Path(entry) / PACKAGE
        if JOB_CODE not in entry and (folder / "__init__.py").is_file():
            return folder
    try:
        installed = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return None
    # An editable installation is not on the path: it is recorded by its URL.
    origin = json.loads(installed.read_text("direct_url.json") or "{}").get("url", "")
    folder = Path(unquote(urlsplit(origin).path)) / PACKAGE
    return folder if (folder / "__init__.py").is_file() else None


def describe_redis(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a head keeps its state in, under `redis`, and what is wrong with it, else an empty
    string, under `redis_problem`.

    Args:
        environment: variables of a process on the head's node.
    """
    address = environment.get(ADDRESS_VARIABLE, "").split(",")[0]
    if not address:
        return _describe_missing_redis(environment)
    user = environment.get(USER_VARIABLE, "")
    problem = check_redis(address, environment.get(PASSWORD_VARIABLE, ""), user)
    return {"redis": f"{address} answers", "redis_problem": problem and f"{address} {problem}"}


def check_redis(address: str, password: str, user: str = "") -> str:
    """What is wrong with a Redis, or an empty string.

    Args:
        address: `HOST:PORT`, or a URL that begins with `redis://` or, for TLS, `rediss://`.
        password: its password, or an empty string.
        user: its user; an empty string for the default user.
    """
    url = urlsplit(address if "://" in address else f"redis://{address}")
    host, port = url.hostname or "", url.port or REDIS_PORT
    login = [part.encode() for part in (user, password) if part]
    commands = [[b"AUTH", *login]] if password else []
    try:
        with socket.create_connection((host, port), REDIS_TIMEOUT_S) as plain:
            link = plain
            if url.scheme == "rediss":
                link = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            for command in (*commands, [b"PING"]):
                link.sendall(_encode_command(command))
                answer = link.recv(1024).decode(errors="replace").strip()
                if not answer.startswith("+"):
                    return f"refuses our {command[0].decode()} ({answer[:80] or 'no answer'})"
    except OSError as error:
        return f"does not answer ({error.strerror or error})"
    return ""


def _describe_missing_redis(environment: Mapping[str, str]) -> dict[str, str]:
    tags = dict(
        pair.split("=", 1) for pair in environment.get(TAGS_VARIABLE, "").split(";") if "=" in pair
    )
    kind = tags.get("kuberay_crd", "")
    if kind in STANDING_KINDS:
        problem = f"a {kind} without Redis loses its state with its head, expected redis.yaml"
        return {"redis": "none", "redis_problem": problem}
    return {"redis": "none: after the loss of the head, jobs start again", "redis_problem": ""}


def _encode_command(parts: list[bytes]) -> bytes:
    """A command in the protocol of Redis, in which every part carries its length."""
    head = b"*%d\r\n" % len(parts)
    return head + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
