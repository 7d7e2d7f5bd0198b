"""Checks whether a cluster can run unattended jobs.

Facts about each node of a cluster, measured on the node itself by a helper job.

Whether the Redis in which a Ray head keeps its state answers, measured on the head's node.
"""

import json
import logging
import os
import shlex
import shutil
import socket
import ssl
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from slicing_rllib.cluster.client import Check, Cluster
from slicing_rllib.cluster.job_entrypoint import (
    NODES_MARK,
    compute_code_digest,
    describe_installed_code,
)
from slicing_rllib.cluster.kubernetes import check_kubernetes, find_kubernetes_api
from slicing_rllib.storage.errors import RunError

MIN_CPUS = 2
"""One CPU for the driver and one for an env runner."""
MAX_CLOCK_SKEW_S = 1.0
"""With a larger skew, events of several nodes cannot be put in order."""
TOKEN_TIMEOUT_S = 5.0


def run_checks(
    address: str, storage: str | None, on_message: Callable[[str], None]
) -> Iterator[Check]:
    """Checks a cluster, and Kubernetes if this process is a pod.

    If the dashboard does not answer, nothing more is checked about the cluster itself.

    Args:
        address: URL of the cluster's dashboard.
        storage: folder that all nodes share; None means the one that the cluster's nodes name.
        on_message: called with lines about the progress.
    """
    if (api := find_kubernetes_api()) is not None:
        yield from check_kubernetes(api)
    try:
        cluster = Cluster(address)
    except RunError as error:
        yield Check("dashboard", False, str(error))
        return
    yield Check("dashboard", True, address)
    yield Check("ray", True, cluster.ray_version)
    yield _check_token(address)
    try:
        nodes = _probe_nodes(cluster, storage, on_message)
    except RunError as error:
        yield Check("nodes", False, str(error))
        return
    yield from check_nodes(nodes)


def check_nodes(nodes: list[dict[str, Any]]) -> Iterator[Check]:
    """Compares the facts about nodes, as `node_probe.probe_nodes` returns them, with our needs."""
    yield _check_resources(nodes)
    yield _check_each_node("nodes answer", nodes, "problem")
    answering = [node for node in nodes if not node.get("problem")]
    yield _check_equal("python", answering)
    yield _check_equal("torch", answering)
    yield _check_equal("code", answering, expected=compute_code_digest())
    yield _check_images(answering)
    yield _check_redis(answering)
    yield _check_each_node("storage", answering, "storage")
    skew_s = max((abs(node["clock_skew_s"]) for node in answering), default=0.0)
    yield Check("clocks", skew_s <= MAX_CLOCK_SKEW_S, f"at most {skew_s:.3f} s from the driver's")
    metrics = _check_each_node("metrics", nodes, "metrics")
    reminder = "every node answers, without a token: let only Prometheus reach the ports"
    yield metrics._replace(found=reminder) if metrics.ok else metrics


def _check_resources(nodes: list[dict[str, Any]]) -> Check:
    cpus = sum(node["resources"].get("CPU", 0.0) for node in nodes)
    gpus = sum(node["resources"].get("GPU", 0.0) for node in nodes)
    gib = sum(node["resources"].get("memory", 0.0) for node in nodes) / 2**30
    found = f"{len(nodes)} nodes, {cpus:g} CPUs, {gpus:g} GPUs, {gib:.1f} GiB"
    return Check("resources", cpus >= MIN_CPUS, found)


def _check_token(address: str) -> Check:
    """A Ray dashboard that does not ask for a token lets anybody run code."""
    try:
        with urlopen(f"{address}/api/jobs/", timeout=TOKEN_TIMEOUT_S):
            expected = "expected RAY_AUTH_MODE=token on all nodes"
            return Check("token", False, f"the dashboard asks for no token; {expected}")
    except HTTPError as error:
        refused = error.code in (401, 403)
        return Check("token", refused, "required, and ours is accepted" if refused else f"{error}")
    except URLError as error:
        return Check("token", False, str(error.reason))


def _check_images(nodes: list[dict[str, Any]]) -> Check:
    """Passes if every node's image contains this machine's code.

    `submit` sends this machine's code if they differ, but RayJob and RayService run the image's.
    """
    own = describe_installed_code()
    images = _check_equal("image", nodes, expected=own)
    return images if images.ok else images._replace(found=f"{images.found}; this machine has {own}")


def _check_redis(nodes: list[dict[str, Any]]) -> Check:
    """Passes if a new head could take over, or if the cluster needs no such head."""
    head = next((node for node in nodes if "redis" in node), None)
    if head is None:
        return Check("redis", False, "the head does not answer")
    return Check("redis", not head["redis_problem"], head["redis_problem"] or head["redis"])


def _probe_nodes(
    cluster: Cluster, storage: str | None, on_message: Callable[[str], None]
) -> list[dict[str, Any]]:
    task = f"nodes {shlex.quote(storage)}" if storage else "nodes"
    code, log = cluster.run_helper_job(task, cluster.prepare_job_environment(on_message))
    if code or NODES_MARK not in log:
        last_line = (log.strip().splitlines() or ["its log is empty"])[-1]
        raise RunError(f"the job that probes the nodes failed: {last_line[:200]}")
    return json.loads(log.split(NODES_MARK, 1)[1].splitlines()[0])


def _check_each_node(name: str, nodes: Iterable[dict[str, Any]], key: str) -> Check:
    """Passes if `key` of every node is empty."""
    problems = [f"{_format_node(node)}: {node[key]}" for node in nodes if node.get(key)]
    return Check(name, not problems, "; ".join(problems) or "every node")


def _check_equal(name: str, nodes: list[dict[str, Any]], expected: str | None = None) -> Check:
    """Passes if all nodes have the same value, which is `expected` unless that is None."""
    nodes_by_value: dict[str, list[str]] = {}
    for node in nodes:
        nodes_by_value.setdefault(node[name], []).append(_format_node(node))
    expected = expected or next(iter(nodes_by_value), "")
    found = "; ".join(
        value if len(nodes_by_value) == 1 else f"{value} ({', '.join(names)})"
        for value, names in nodes_by_value.items()
    )
    return Check(name, set(nodes_by_value) == {expected}, found or "no node answers")


def _format_node(node: dict[str, Any]) -> str:
    return f"{node['address']} {node['node'][:8]}"


ADDRESS_VARIABLE = "RAY_REDIS_ADDRESS"
USER_VARIABLE, PASSWORD_VARIABLE = "REDIS_USERNAME", "REDIS_PASSWORD"
TAGS_VARIABLE = "RAY_USAGE_STATS_EXTRA_TAGS"
"""KubeRay names here the kind of object that has started a node, such as `kuberay_crd=RayJob`."""
STANDING_KINDS = ("RayCluster", "RayService")
"""Kinds of KubeRay whose cluster outlives its jobs."""
PORT = 6379
TIMEOUT_S = 5.0


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
    host, port = url.hostname or "", url.port or PORT
    login = [part.encode() for part in (user, password) if part]
    commands = [[b"AUTH", *login]] if password else []
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as plain:
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
